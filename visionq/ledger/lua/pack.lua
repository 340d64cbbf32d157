-- include: core/base, gates/gates, jobs/moves, lanes/holds, lanes/lanes

-- Gives the packer a job of the batch lane, tenants in turn, as if a hint had named it: it claims it.
-- ARGV: now, pool, model, ms until it goes back if it was not claimed, then the queues in their order
-- Returns the id; nil while the gate of the pool's key lets no more calls through.

local MOST_ENTRIES = 1000 -- at entries of jobs that ended in their lane, or went into another
local pool, model, patience = ARGV[2], ARGV[3], tonumber(ARGV[4])
local looks = 0

local function take(queue, lane)
  local id = redis.call('LPOP', K.lane .. lane)
  local job = K.job .. id
  local state, its_lane = unpack(redis.call('HMGET', job, 'state', 'lane'))
  looks = looks + 1
  if state ~= State.QUEUED or its_lane ~= lane then
    return
  end
  leave_lane(lane)
  redis.call('ZREM', K.fallback_jobs .. model, id)
  move(job, State.QUEUED, State.HINTED)
  redis.call('HINCRBY', K.hinted, queue, 1)
  redis.call('ZADD', K.due, at(now + patience), id)
  return id
end

local function next_of(queue)
  local tenants, passed_over = K.tenant_ring .. queue, 0
  while looks < MOST_ENTRIES do
    local tenant = redis.call('LMOVE', tenants, tenants, 'LEFT', 'RIGHT')
    if not tenant or passed_over > redis.call('LLEN', tenants) then
      return
    end
    local lane = queue .. ':' .. tenant .. ':' .. model
    local is_there = redis.call('HEXISTS', K.lane_sizes, lane) == 1 and not held_by(lane)
    local id = is_there and take(queue, lane)
    if id then
      return id
    end
    passed_over = is_there and 0 or passed_over + 1
  end
end

if calls_left(read_gate(gate_of(pool))) > 0 then
  for i = 5, #ARGV do
    local id = next_of(ARGV[i])
    if id then
      return id
    end
  end
end
