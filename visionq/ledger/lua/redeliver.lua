-- include: core/base, webhooks/deliveries

-- Delivers events again, or at once if they wait; leaves alone what is on its way.
-- ARGV: now, then the ids
-- Returns for each its state before, or 'missing'

local states = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local key = K.delivery .. id
  local state, tenant = unpack(redis.call('HMGET', key, 'state', 'tenant'))
  if state == DeliveryState.DELIVERED or state == DeliveryState.FAILED or state == DeliveryState.WAITING then
    redis.call('ZREM', K.deliveries, id)
    redis.call('PERSIST', key)
    redis.call('HDEL', key, 'first', 'hints')
    redis.call('HSET', key, 'state', DeliveryState.WAITING)
    deliver_at(now, id, tenant)
  end
  states[#states + 1] = state or State.MISSING
end
wake()
return states
