-- include: core/base

-- Claimed, not sent: jobs taken from their lanes, counted for each model and tenant. In any
-- way a job takes out of the workers' hands, it goes through `move`.

local RATE_LIMIT_KEPT = 86400 -- seconds that is remembered of a model that nobody asks

local function model_of(lane)
  return string.match(lane, '^[^:]+:[^:]+:(.+)$')
end

local function tenant_of(lane)
  return string.match(lane, '^[^:]+:([^:]+):')
end

local function count_of_tenant(counts, lane, amount)
  if redis.call('HINCRBY', counts, tenant_of(lane), amount) <= 0 then
    redis.call('HDEL', counts, tenant_of(lane))
  end
end

-- The last one out: forget the rate limit of a model that nobody asks for long.
local function count_down(model, one, other)
  local key = K.rate_limit .. model
  if redis.call('HINCRBY', key, one, -1) == 0 and (redis.call('HGET', key, other) or '0') == '0' then
    redis.call('EXPIRE', key, RATE_LIMIT_KEPT)
  end
end

local function uncount_unsent(job)
  local taken, lane = unpack(redis.call('HMGET', job, 'taken', 'lane'))
  if taken then
    redis.call('HDEL', job, 'taken', 'permit')
    count_down(model_of(lane), 'at_hand', 'calls_out')
    count_of_tenant(K.tenant_unsent, lane, -1)
  end
end

-- When the dispatcher looks at the job; nil: only what it waits for brings it back.
local function set_due(id, moment)
  if moment then
    redis.call('ZADD', K.due, moment, id)
  else
    redis.call('ZREM', K.due, id)
  end
end

-- What follows are fields of the job, with their values, that change with its state.
local function move(job, from, to, ...)
  redis.call('HINCRBY', K.counts, from, -1)
  redis.call('HINCRBY', K.counts, to, 1)
  redis.call('HSET', job, 'state', to, ...)
  local change = (to == State.PARKED and 1 or 0) - (from == State.PARKED and 1 or 0)
  if change > 0 then
    redis.call('ZADD', K.parked, at(now), string.sub(job, #K.job + 1))
  elseif change < 0 then
    redis.call('ZREM', K.parked, string.sub(job, #K.job + 1))
  end
  if change ~= 0 then
    count_of_tenant(K.tenant_parked, redis.call('HGET', job, 'lane'), change)
  end
  if to ~= State.HINTED and to ~= State.IN_PROGRESS then
    uncount_unsent(job)
  end
end
