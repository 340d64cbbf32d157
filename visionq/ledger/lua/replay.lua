-- include: core/base

-- Records that ended jobs were submitted again; repeating it changes nothing.
-- ARGV: now, then for each: id of the old job, id of the new one

-- A batch that was made of a file is not done any more: a gateway takes it up again.
local function take_up_again(batch)
  if redis.call('EXISTS', K.file_batch .. batch) == 1 then
    redis.call('PERSIST', K.file_batch .. batch)
    redis.call('ZADD', K.open_batches, 'NX', math.floor(now / 1000), batch)
  end
end

-- Another job stands for this one from now on, in its batch too: that counts it once, as what it
-- will come to.
local function replaced_by(id, replay)
  local job = K.job .. id
  local state, batch, before = unpack(redis.call('HMGET', job, 'state', 'batch', 'replayed_by'))
  if not TERMINAL[state] or before then
    return
  end
  redis.call('HSET', job, 'replayed_by', replay)
  redis.call('ZREM', K.failed, id)
  if batch and redis.call('HGET', K.job .. replay, 'batch') == batch then
    redis.call('HINCRBY', K.batch .. batch, state, -1)
    redis.call('HINCRBY', K.batch .. batch, 'total', -1)
    take_up_again(batch)
  end
end

for i = 2, #ARGV, 2 do
  replaced_by(ARGV[i], ARGV[i + 1])
end
