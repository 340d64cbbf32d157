-- Counters for the exporter: one hash, field → whole number, never reset. A field is a name and its
-- labels, joined by `|`; visionq/ledger/metrics.py says which there are. Bounded: tenants and models
-- beyond the first so many, and fields beyond so many, are counted as `other`.

local MOST_LABELS = { tenant = 40, model = 20 }
local MOST_COUNTERS = 5000
local MOST_DIGITS = 17 -- of one amount: of money, a hundred million rubles

local FULL = '9223372036854775807'

-- Adds to a whole number, which Redis keeps in 64 bits: one that is full stays full. Were it an error,
-- the script would stop half-way, and one book would know what another does not.
local function increase(key, field, amount)
  local sum = redis.pcall('HINCRBY', key, field, amount)
  if type(sum) == 'number' then
    return sum
  elseif string.find(sum.err, 'overflow', 1, true) then
    redis.call('HSET', key, field, tonumber(amount) < 0 and '-' .. FULL or FULL)
    return tonumber(FULL)
  end
  error(sum.err)
end

local function count(field, amount)
  return increase(K.metrics, field, amount or 1)
end

local function new_label(kind, name)
  local known = tonumber(redis.call('HGET', K.metric_labels, kind) or 0)
  if known >= MOST_LABELS[kind] then
    return 'other'
  end
  redis.call('HSET', K.metric_labels, kind .. '|' .. name, '1', kind, known + 1)
  return name
end

local labels_by_lane = {}

local function labels_of(lane)
  if not labels_by_lane[lane] then
    local tenant, model = string.match(lane, '^[^:]+:([^:]+):(.+)$')
    local known = redis.call('HMGET', K.metric_labels, 'tenant|' .. tenant, 'model|' .. model)
    labels_by_lane[lane] = {
      ['{tenant}'] = known[1] and tenant or new_label('tenant', tenant),
      ['{model}'] = known[2] and model or new_label('model', model),
    }
  end
  return labels_by_lane[lane]
end

-- `field` has `{tenant}` and `{model}` in the place of the lane's.
local function count_for(lane, field, amount)
  local named = string.gsub(field, '%b{}', labels_of(lane))
  local is_new = count(named, amount) == tonumber(amount or 1)
  if is_new and redis.call('HLEN', K.metrics) > MOST_COUNTERS then
    redis.call('HDEL', K.metrics, named)
    count((string.gsub(field, '%b{}', 'other')), amount)
  end
end

-- `text`: `field amount field amount …`, as a worker has counted. Most have no labels of the lane.
local function count_all(lane, text)
  for field, amount in string.gmatch(text, '(%S+) (%d+)') do
    amount = #amount <= MOST_DIGITS and amount or '0'
    if string.find(field, '{', 1, true) then
      count_for(lane, field, amount)
    else
      count(field, amount)
    end
  end
end
