-- include: core/base, webhooks/deliveries

-- Handing out: the dispatcher gives events that are due to the workers.

-- Waits longer and longer for a worker to claim it.
local function hand_out(id, hints, first_wait, longest_wait)
  local key = K.delivery .. id
  local tries = redis.call('HINCRBY', key, 'hints', 1)
  local wait = math.min(longest_wait, first_wait * 2 ^ (tries - 1))
  redis.call('HSET', key, 'state', DeliveryState.HINTED)
  redis.call('HDEL', key, 'token')
  redis.call('ZADD', K.deliveries_out, at(now + wait), id)
  hints[#hints + 1] = { id, unpack(redis.call('HMGET', key, 'tenant', 'event')) }
end

-- Nobody claimed them, or who did is dead.
local function hand_out_again(hints, broker_is_here, first_wait, longest_wait)
  local late = redis.call('ZRANGEBYSCORE', K.deliveries_out, '-inf', at(now), 'LIMIT', 0, MOST_LOOKS)
  for _, id in ipairs(late) do
    local is_sent = redis.call('HGET', K.delivery .. id, 'state') == DeliveryState.SENDING
    if not is_sent and broker_is_here and redis.call('LLEN', K.queue_webhooks) >= redis.call('ZCARD', K.deliveries_out) then
      redis.call('ZADD', K.deliveries_out, at(now + first_wait), id)
    else
      hand_out(id, hints, first_wait, longest_wait)
    end
  end
end

local function take_from(tenant, room, hints, first_wait, longest_wait)
  local out = tonumber(redis.call('HGET', K.deliveries_out_of, tenant) or 0)
  -- Three for each that may still go out, as for claimed jobs.
  local share = math.ceil((3 * room - out) / 4)
  local most = math.max(0, math.min(share, MOST_OF_TENANT - out))
  local due = redis.call('ZRANGEBYSCORE', K.deliveries_due .. tenant, '-inf', at(now), 'LIMIT', 0, most)
  for _, id in ipairs(due) do
    redis.call('ZREM', K.deliveries_due .. tenant, id)
    redis.call('HINCRBY', K.deliveries_out_of, tenant, 1)
    hand_out(id, hints, first_wait, longest_wait)
  end
  look_at_tenant_later(tenant)
  return #due
end

-- One of eight slots of the workers may wait for a receiver, and at least four.
local function most_deliveries_out()
  local slots = 0
  for _, of_pool in ipairs(redis.call('HVALS', K.pool_slots)) do
    slots = slots + tonumber(of_pool)
  end
  return math.max(4, math.floor(slots / 8))
end

-- Who has fewest out comes first: one who always has something due must not always be before others.
local function in_turn(tenants)
  local places, outs = {}, redis.call('HMGET', K.deliveries_out_of, unpack(tenants))
  for place, tenant in ipairs(tenants) do
    places[tenant] = { tonumber(outs[place] or 0), place }
  end
  table.sort(tenants, function(one, other)
    local a, b = places[one], places[other]
    return a[1] < b[1] or a[1] == b[1] and a[2] < b[2]
  end)
  return tenants
end

-- `leases_count`: who holds one could have renewed it, had he lived.
local function look_at_deliveries(leases_count, broker_is_here, first_wait, longest_wait)
  local hints = {}
  if leases_count then
    hand_out_again(hints, broker_is_here, first_wait, longest_wait)
  end
  local tenants = redis.call('ZRANGEBYSCORE', K.delivery_tenants, '-inf', at(now), 'LIMIT', 0, MOST_LOOKS)
  if #tenants == 0 then
    return hints
  end
  local room = most_deliveries_out() - redis.call('ZCARD', K.deliveries_out)
  for _, tenant in ipairs(in_turn(tenants)) do
    if room <= 0 then
      break
    end
    room = room - take_from(tenant, room, hints, first_wait, longest_wait)
  end
  return hints
end
