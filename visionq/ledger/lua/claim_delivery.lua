-- include: core/base

-- Gives a worker the event that a hint named, under a random token and a lease.
-- ARGV: now, id, token, lease (ms)
-- Returns {'claimed', now, tenant, event, subject, created, time of the first attempt, attempts,
--   enabled ('1' or '0')} or {'refused', state}

local id, token, lease = ARGV[2], ARGV[3], tonumber(ARGV[4])
local key = K.delivery .. id
local state, holder = unpack(redis.call('HMGET', key, 'state', 'token'))
if state ~= DeliveryState.HINTED and not (state == DeliveryState.SENDING and holder == token) then
  return { 'refused', state or State.MISSING }
end
redis.call('HSET', key, 'state', DeliveryState.SENDING, 'token', token, 'hints', '0')
redis.call('HSETNX', key, 'first', at(now))
redis.call('ZADD', K.deliveries_out, at(now + lease), id)
local tenant, event, subject, created, first, attempts = unpack(
  redis.call('HMGET', key, 'tenant', 'event', 'subject', 'created', 'first', 'attempts')
)
return {
  'claimed', at(now), tenant, event, subject, created, first, attempts or '0',
  tostring(redis.call('HEXISTS', K.webhook_events, tenant)),
}
