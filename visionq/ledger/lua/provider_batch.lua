-- include: core/base

-- The record of a batch at the provider. Each step is written before the provider is asked for it, by
-- the one packer that holds the record: another takes it over first, and fences the former one.
-- ARGV: now, order, id, then for
--   open: holder, fields as JSON
--   adopt: holder
--   step: holder, state it is in, fields as JSON (with its new `state`)
--   stop: nothing more
--   drop: tokens of lines that are done with
--   close: holder, seconds that it is kept, how many are
-- Returns 1, or for drop the lines that are left; 0 where it is not in that state, or not that holder's.

local order, id = ARGV[2], ARGV[3]
local record, lines = K.provider_batch .. id, K.provider_batch_lines .. id

local function write(fields)
  for name, value in pairs(cjson.decode(fields)) do
    redis.call('HSET', record, name, value)
  end
  return 1
end

local function is_held_by(holder)
  return redis.call('HGET', record, 'holder') == holder
end

if order == 'open' then
  redis.call('HSET', record, 'holder', ARGV[4])
  redis.call('ZADD', K.provider_batches, at(now), id)
  return write(ARGV[5])
elseif order == 'adopt' then
  return redis.call('EXISTS', record) == 1 and redis.call('HSET', record, 'holder', ARGV[4]) and 1 or 0
elseif order == 'step' then
  if not is_held_by(ARGV[4]) or redis.call('HGET', record, 'state') ~= ARGV[5] then
    return 0
  end
  return write(ARGV[6])
elseif order == 'stop' then
  if not redis.call('ZSCORE', K.provider_batches, id) then
    return 0
  end
  redis.call('HSET', record, 'stop', 1)
  return 1
elseif order == 'drop' then
  redis.call('HDEL', lines, unpack(ARGV, 4))
  return redis.call('HLEN', lines)
end
if not is_held_by(ARGV[4]) or redis.call('EXISTS', lines) == 1 then
  return 0
end
local ttl, kept = tonumber(ARGV[5]), tonumber(ARGV[6])
redis.call('ZREM', K.provider_batches, id)
redis.call('HSET', record, 'state', 'done', 'ended', at(now))
redis.call('EXPIRE', record, ttl)
redis.call('ZADD', K.provider_batches_done, at(now), id)
redis.call('ZREMRANGEBYSCORE', K.provider_batches_done, '-inf', at(now - ttl * 1000))
redis.call('ZREMRANGEBYRANK', K.provider_batches_done, 0, -1 - kept)
return 1
