-- Slots: what workers can take, and what they have taken.

local function release_slot(job)
  local pool = redis.call('HGET', job, 'pool')
  redis.call('HINCRBY', K.pool_busy, pool, -1)
  redis.call('HDEL', job, 'pool', 'worker', 'token')
end

local function release_hint(lane)
  local queue = split_lane(lane)
  redis.call('HINCRBY', K.hinted, queue, -1)
end
