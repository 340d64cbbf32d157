-- Money: integer nano-rubles, kept as text, added by Redis.

local function negative(amount)
  return amount == '0' and '0' or '-' .. amount
end

-- A call was sent and its end is not known: what was reserved for it may have been spent.
-- Returns the token of the call, or false if none was out.
local function sent_becomes_unknown(job)
  local token, reserved = unpack(redis.call('HMGET', job, 'sent', 'reserved'))
  if not token then
    return false
  end
  redis.call('HDEL', job, 'sent', 'reserved')
  redis.call('HINCRBY', K.money, 'reserved', negative(reserved))
  redis.call('HINCRBY', K.money, 'unknown', reserved)
  redis.call('HINCRBY', K.money, 'unknown_calls', 1)
  redis.call('HINCRBY', job, 'unknown_calls', 1)
  redis.call('HSET', job, 'unknown:' .. token, reserved)
  return token
end

