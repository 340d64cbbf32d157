-- include: core/base, lanes/lanes

-- Holds: a scope (`model:…` or `tenant:…`) whose lanes are not served, until a time or for good.
-- A held lane leaves its ring when its turn comes, so holding costs nothing however many there are.

local MOST_REJOINED = 200 -- lanes, in one script

local function hold(scope, reason, until_when)
  local held = redis.call('HEXISTS', K.holds, scope) == 1
  if held and until_when and not redis.call('ZSCORE', K.hold_ends, scope) then
    return -- for good already
  end
  redis.call('HSET', K.holds, scope, reason)
  if until_when then
    redis.call('ZADD', K.hold_ends, at(until_when), scope)
  else
    redis.call('ZREM', K.hold_ends, scope)
  end
end

local function held_by(lane)
  local _, tenant, model = split_lane(lane)
  local scopes = { 'model:' .. model, 'tenant:' .. tenant }
  local reasons = redis.call('HMGET', K.holds, unpack(scopes))
  return reasons[1] and scopes[1] or reasons[2] and scopes[2] or nil
end

local function hold_lane(lane, scope)
  leave_rings(lane)
  redis.call('ZADD', K.held_lanes .. scope, 'NX', at(now), lane)
end

-- What one script must not do at once the dispatcher's next looks go on with. Returns how many lanes
-- came back.
local function reopen(scope)
  local aside = K.held_lanes .. scope
  redis.call('HDEL', K.holds, scope)
  local lanes = redis.call('ZPOPMIN', aside, MOST_REJOINED)
  for i = 1, #lanes, 2 do
    if redis.call('HEXISTS', K.lane_sizes, lanes[i]) == 1 then
      join_rings(lanes[i])
    end
  end
  if redis.call('EXISTS', aside) == 1 then
    redis.call('ZADD', K.hold_ends, at(now), scope)
  else
    redis.call('ZREM', K.hold_ends, scope)
  end
  wake()
  return #lanes / 2
end
