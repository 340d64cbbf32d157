-- include: core/base, core/events, metrics/counters, webhooks/deliveries

-- Writes what came of telling a webhook.
-- ARGV: now, id, token, state (delivered | waiting | failed), delay in ms, HTTP status ('' for none),
--   what went wrong ('' for nothing), id of the webhook if it wants to be told no more,
--   how long ended deliveries are kept (s), and how many
-- Returns 'done' | 'fenced'

local id, token, state, delay = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local status, fault, gone = ARGV[6], ARGV[7], ARGV[8]
local ttl, most = tonumber(ARGV[9]), tonumber(ARGV[10])
local key = K.delivery .. id

-- At Redis's memory limit a script goes through only if its first write removes something.
redis.call('ZREM', K.deliveries_out, '')

local holder, tenant = unpack(redis.call('HMGET', key, 'token', 'tenant'))
if holder ~= token then
  return 'fenced'
end

local function disable()
  local webhook = redis.call('HGET', K.webhook_events, tenant)
  if webhook and string.match(webhook, '^%S+') == gone then -- else another was set meanwhile
    redis.call('HDEL', K.webhook_events, tenant)
    notify_operator('webhook:' .. tenant, 'disabled', status)
  end
end

local function forget_oldest()
  local old = redis.call('ZRANGE', K.deliveries, 0, -1 - most)
  for i = 1, math.min(#old, 500) do
    redis.call('DEL', K.delivery .. old[i])
    redis.call('ZREM', K.deliveries, old[i])
  end
  redis.call('ZREMRANGEBYSCORE', K.deliveries, '-inf', at(now - ttl * 1000))
end

redis.call('HDEL', key, 'token')
redis.call('HINCRBY', key, 'attempts', 1)
if redis.call('HGET', key, 'event') ~= K.canvas_event then
  count('webhooks|' .. state)
end
redis.call('HSET', key, 'state', state, 'status', status, 'fault', fault, 'tried', at(now))
come_back(id, tenant)
if gone ~= '' then
  disable()
end
if state == DeliveryState.WAITING then
  deliver_at(now + tonumber(delay), id, tenant)
else
  redis.call('EXPIRE', key, ttl)
  redis.call('ZADD', K.deliveries, at(now), id)
  forget_oldest()
end
look_at_tenant_later(tenant)
wake()
return 'done'
