-- include: core/base

-- Keeps a message that no worker can work on: bounded in number and bytes, for a time.
-- ARGV: now, id, time to keep it (s), most letters, most bytes, id of the task ('' for none), Celery
--   result for it, time to keep that (s), bytes kept of the message, then its fields: name, value, …
-- The index says `id bytes`, so that the bytes of all need no count of their own.

local id, ttl, most, most_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local task_id, result, result_ttl, bytes = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])

-- The first write removes something, so it goes through at Redis's memory limit too.
redis.call('ZREMRANGEBYSCORE', K.dead_letters, '-inf', at(now - ttl * 1000))
local entries = redis.call('ZRANGE', K.dead_letters, 0, -1)
local held = bytes
for _, entry in ipairs(entries) do
  held = held + tonumber(string.match(entry, '%d+$'))
end
local surplus = #entries + 1 - most
for place, entry in ipairs(entries) do
  if place > surplus and held <= most_bytes then
    break
  end
  held = held - tonumber(string.match(entry, '%d+$'))
  redis.call('UNLINK', K.dead_letter .. string.match(entry, '^%S+'))
  redis.call('ZREM', K.dead_letters, entry)
end

redis.call('HSET', K.dead_letter .. id, 'received', at(now), unpack(ARGV, 10))
redis.call('EXPIRE', K.dead_letter .. id, ttl)
redis.call('ZADD', K.dead_letters, at(now), id .. ' ' .. bytes)

-- Answer those who wait for the task, unless the id is that of a job, which has an end of its own.
if task_id ~= '' and redis.call('EXISTS', K.job .. task_id) == 0 then
  if redis.call('SET', K.celery_result .. task_id, result, 'EX', result_ttl, 'NX') then
    redis.call('PUBLISH', K.celery_result .. task_id, result)
  end
end
