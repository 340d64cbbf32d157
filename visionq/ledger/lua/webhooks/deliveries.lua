-- include: core/base

-- Deliveries: events for a tenant's webhook. One waits among those that are due to its
-- tenant, is handed to the workers, and comes back until it was delivered or is given up. A limited number
-- are out at a time, and of a tenant: who answers slowly takes no thread from jobs, nor from others.

local MOST_OF_TENANT = 8 -- that are out
local MOST_LOOKS = 100 -- tenants, and events that came to nothing, in one look of the dispatcher

-- As the gateway shows the job: an answer that was declined is an answer.
local function event_of(state, reason)
  if state == State.FAILED and reason == 'incomplete' then
    return 'response.incomplete'
  elseif state == State.FAILED and reason == 'refused' then
    return 'response.completed'
  end
  return 'response.' .. state
end

local function deliver_at(moment, id, tenant)
  redis.call('ZADD', K.deliveries_due .. tenant, at(moment), id)
  redis.call('ZADD', K.delivery_tenants, 'LT', at(moment), tenant)
end

local function enter_delivery(tenant, event, subject, seed)
  local id = 'evt_' .. string.sub(redis.sha1hex(seed), 1, 24)
  if redis.call('EXISTS', K.delivery .. id) == 0 then
    redis.call(
      'HSET', K.delivery .. id,
      'tenant', tenant, 'event', event, 'subject', subject, 'created', at(now), 'state', DeliveryState.WAITING
    )
    deliver_at(now, id, tenant)
  end
end

-- Tells nobody where the tenant has no webhook, or none for this. `subject` is the id of the job or
-- batch; what is announced again under the same `seed` is the same event.
local function tell_webhook(tenant, event, subject, seed)
  local wanted = redis.call('HGET', K.webhook_events, tenant)
  if not wanted or not string.find(wanted .. ' ', ' ' .. event .. ' ', 1, true) then
    return
  end
  enter_delivery(tenant, event, subject, seed)
end

-- The next of the tenant's events brings the dispatcher back to it.
local function look_at_tenant_later(tenant)
  local out = tonumber(redis.call('HGET', K.deliveries_out_of, tenant) or 0)
  local first = redis.call('ZRANGE', K.deliveries_due .. tenant, 0, 0, 'WITHSCORES')
  if out >= MOST_OF_TENANT or not first[2] then
    redis.call('ZREM', K.delivery_tenants, tenant)
  else
    redis.call('ZADD', K.delivery_tenants, first[2], tenant)
  end
end

local function come_back(id, tenant)
  redis.call('ZREM', K.deliveries_out, id)
  if redis.call('HINCRBY', K.deliveries_out_of, tenant, -1) <= 0 then
    redis.call('HDEL', K.deliveries_out_of, tenant)
  end
end

