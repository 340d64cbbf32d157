-- include: lanes/lanes, money/waiters

-- Slots: what workers can take, and what they have taken.

-- The keys of live workers are in a set of their own, for readers of the gates.
local function add_slots(pool, slots)
  local key = string.match(pool, '@(.*)$') or ''
  if redis.call('HINCRBY', K.pool_slots, pool, slots) > 0 then
    redis.call('SADD', K.provider_keys, key)
  else
    redis.call('SREM', K.provider_keys, key)
  end
end

local function release_slot(job)
  local pool = redis.call('HGET', job, 'pool')
  clear_earmark(job)
  if pool then -- else a script that failed half-way has released it
    redis.call('HINCRBY', K.pool_busy, pool, -1)
  end
  redis.call('HDEL', job, 'pool', 'worker', 'token', 'line')
end

local function release_hint(lane)
  local queue = split_lane(lane)
  redis.call('HINCRBY', K.hinted, queue, -1)
end
