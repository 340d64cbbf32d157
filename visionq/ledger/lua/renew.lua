-- include: core/base, jobs/slots, lanes/lanes

-- A worker's sign of life: keeps it registered and its leases running.
-- ARGV: now, worker, slots (0 takes leave), pool, lease (ms), facts (JSON), newest version of
--   documents that it reads, then for each job: id, token
-- Returns the ids whose token no longer holds.

local AT_ONCE = 1000 -- arguments: Lua takes no more than a few thousand

local worker, slots, pool, lease = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local facts, version = ARGV[6], ARGV[7]
local registration = K.worker .. worker

-- At Redis's memory limit a script goes through only if its first write removes something.
local known_slots, known_pool = unpack(redis.call('HMGET', registration, 'slots', 'pool'))
redis.call('HDEL', registration, 'facts')

if tonumber(known_slots or 0) ~= slots or (known_pool or pool) ~= pool then
  if known_pool then
    add_slots(known_pool, -tonumber(known_slots))
  end
  add_slots(pool, slots)
  wake()
end
if slots == 0 then
  redis.call('DEL', registration)
  redis.call('ZREM', K.workers, worker)
else
  redis.call('HSET', registration, 'slots', slots, 'pool', pool, 'facts', facts, 'seen', at(now))
  redis.call('ZADD', K.workers, at(now + lease), worker)
end

-- Jobs that an older worker parked have found one that reads them.
local function take_up_newer_jobs()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.too_new, '-inf', version, 'LIMIT', 0, 200)) do
    redis.call('ZREM', K.too_new, id)
    local job = K.job .. id
    if redis.call('HGET', job, 'reason') == DelayReason.NEWER_WORKER_NEEDED then
      requeue(id, job, State.PARKED)
      wake()
    end
  end
end

if slots > 0 then
  take_up_newer_jobs()
end

local lost, renewed = {}, {} -- the latter as `ZADD` takes them
local until_then = at(now + lease)
for i = 8, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  local state, holder = unpack(redis.call('HMGET', K.job .. id, 'state', 'token'))
  if state == State.IN_PROGRESS and holder == token then
    renewed[#renewed + 1] = until_then
    renewed[#renewed + 1] = id
  else
    lost[#lost + 1] = id
  end
end
for first = 1, #renewed, AT_ONCE do
  redis.call('ZADD', K.due, unpack(renewed, first, math.min(first + AT_ONCE - 1, #renewed)))
end
return lost
