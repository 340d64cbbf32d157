-- include: core/base, metrics/counters

-- Labels: the tenants and models that are counted under their names. A tenant is from its first job
-- on, a model from its first paid answer, since anybody can invent a model. Bounded: what finds no
-- place is counted as `other`, and so are counters beyond the limit. One not counted for a day gives
-- the place, and the counters, to who needs it.

local MOST_TENANTS = 40
local MOST_MODELS = 20
local MOST_COUNTERS = 5000
local LABEL_KEPT = 86400000 -- ms
local LABEL_RENEWED = 3600000 -- ms, so that not every job writes it

local function counters_of(kind, name)
  return K.metric_fields .. kind .. '|' .. name
end

-- Returns whether there is a place for another label.
local function make_room(kind, most)
  local labels = K.metric_labels .. kind
  if redis.call('ZCARD', labels) < most then
    return true
  end
  local stale = redis.call('ZRANGEBYSCORE', labels, '-inf', at(now - LABEL_KEPT), 'LIMIT', 0, 1)[1]
  if not stale then
    return false
  end
  for _, field in ipairs(redis.call('SMEMBERS', counters_of(kind, stale))) do
    redis.call('HDEL', K.metrics, field)
  end
  redis.call('DEL', counters_of(kind, stale))
  redis.call('ZREM', labels, stale)
  return true
end

-- `is_seen`: what earns a label, and keeps it, has just happened.
local function label_for(kind, name, most, is_seen)
  local labels = K.metric_labels .. kind
  local counted = redis.call('ZSCORE', labels, name)
  if not (counted or is_seen and make_room(kind, most)) then
    return 'other'
  elseif is_seen and now - (counted or 0) > LABEL_RENEWED then
    redis.call('ZADD', labels, at(now), name)
  end
  return name
end

local labels_by_lane = {}

-- `is_answered`: the lane's model has been, just now.
local function labels_of(lane, is_answered)
  if not labels_by_lane[lane] then
    local tenant, model = string.match(lane, '^[^:]+:([^:]+):(.+)$')
    labels_by_lane[lane] = {
      ['{tenant}'] = label_for('tenant', tenant, MOST_TENANTS, true),
      ['{model}'] = label_for('model', model, MOST_MODELS, is_answered),
    }
  end
  return labels_by_lane[lane]
end

-- `field` has `{tenant}` and `{model}` in the place of the lane's.
local function count_for(lane, field, amount)
  local labels = labels_of(lane)
  local named = string.gsub(field, '%b{}', labels)
  if count(named, amount) ~= tonumber(amount or 1) then
    return
  elseif redis.call('HLEN', K.metrics) > MOST_COUNTERS then
    redis.call('HDEL', K.metrics, named)
    count((string.gsub(field, '%b{}', 'other')), amount)
    return
  end
  for kind in string.gmatch(field, '{(%l+)}') do
    redis.call('SADD', counters_of(kind, labels['{' .. kind .. '}']), named)
  end
end

-- `counted`: field → amount, as a worker has counted. Most have no labels of the lane.
local function count_all(lane, counted, is_answered)
  labels_of(lane, is_answered)
  for field, amount in pairs(counted) do
    if #amount > MOST_DIGITS then
      count(field, 0)
    elseif string.find(field, '{', 1, true) then
      count_for(lane, field, amount)
    else
      count(field, amount)
    end
  end
end
