-- include: core/base, jobs/moves

-- Rate limits: how fast a model is asked. One hash a model holds the limits that the provider announced, what
-- was learned from its refusals, and until when requests and tokens are taken. All rates are for a
-- minute, all times in milliseconds.

local MARGIN = 0.97 -- of an announced limit, so that uneven latency is no excess
local BURST = 500 -- of lateness may be made up for at once, by calls that are small against it
local HORIZON = 2000 -- jobs are taken for what may be sent within this time …
local LONGEST_HORIZON = 10000 -- … or, where they are long on their way to the call, within theirs
local SLACK = 50 -- by which a permit may be late and still hold
local RECHECK = 250 -- between two looks at a model that can't be asked now
local WINDOW = 10000 -- over which successes are counted while nothing limits
local MOST_REFUSALS = 3 -- of one job in a row: from then on it speaks for itself alone
local CUT = 0.85 -- of the ceiling is where a climb starts
local RARE = 0.2 -- of calls refused: the most that is borne
local LONGEST_PAUSE_TOLD = 60000 -- that is kept before a call tries: beyond it they go one at a time
local FORGOTTEN = 10 -- spans after which a refusal says nothing any more

-- What holds for a model, the operator's word before the environment's, its own before all models'.
local function limits_of(model)
  local entries = redis.call(
    'HMGET', K.limits,
    'operator:' .. model, 'environment:' .. model, 'operator:*', 'environment:*'
  )
  for i = 1, 4 do
    if entries[i] then
      return cjson.decode(entries[i]), i % 2 == 1 and 'operator' or 'environment'
    end
  end
  return {}
end

local function smaller(one, other)
  return one and other and math.min(one, other) or one or other
end

-- After a cut the rate comes back with the calls that succeed: quickly at first, slowly where it was
-- refused, and ever faster beyond.
local function learned_rate(ceiling, start, span, passes)
  local way = passes / span
  if way >= FORGOTTEN then
    return nil
  end
  return ceiling - (ceiling - start) * (1 - way) * (1 - way) * (1 - way)
end

local PACE = {
  'told_requests', 'told_tokens', 'ceiling', 'start', 'span', 'passes', 'since', 'cut_at', 'next',
  'requests_at', 'tokens_at', 'calls_out', 'at_hand', 'way', 'call_tokens', 'share',
  'refused_below', 'refused_above', 'usual', 'step', 'calls_before', 'silence', 'missing',
}

-- `requests` and `tokens` are what may be used in a minute, nil where nothing limits them.
local function read_rate_limit(model)
  local rate_limit, limits = { key = K.rate_limit .. model }, limits_of(model)
  for i, value in ipairs(redis.call('HMGET', rate_limit.key, unpack(PACE))) do
    rate_limit[PACE[i]] = tonumber(value or nil)
  end
  local told = smaller(limits.requests_per_minute, rate_limit.told_requests)
  local tokens = smaller(limits.tokens_per_minute, rate_limit.told_tokens)
  rate_limit.told = told and told * MARGIN
  rate_limit.tokens = tokens and tokens * MARGIN
  rate_limit.concurrency = limits.concurrency
  rate_limit.learned = rate_limit.ceiling and learned_rate(rate_limit.ceiling, rate_limit.start, rate_limit.span, rate_limit.passes or 0)
  rate_limit.requests = smaller(rate_limit.told, rate_limit.learned)
  rate_limit.is_limited = (rate_limit.requests or rate_limit.tokens or rate_limit.concurrency or rate_limit.step) and true
  rate_limit.horizon = math.min(math.max(HORIZON, (rate_limit.way or 0) * 1.5), LONGEST_HORIZON)
  rate_limit.longest_wait = 2 * rate_limit.horizon + 1000
  return rate_limit
end

-- Written at once, or by `write_gathered` with what else changes.
local function set(rate_limit, field, text)
  local gathered = rate_limit.gathered
  if gathered then
    gathered[#gathered + 1] = field
    gathered[#gathered + 1] = text
  else
    redis.call('HSET', rate_limit.key, field, text)
  end
end

local function save(rate_limit, field, value)
  set(rate_limit, field, string.format('%.3f', value))
end

local function write_gathered(rate_limit)
  redis.call('HSET', rate_limit.key, unpack(rate_limit.gathered))
end

-- A moving average: an eighth of each new value.
local function average(rate_limit, field, value)
  save(rate_limit, field, rate_limit[field] and rate_limit[field] + (value - rate_limit[field]) / 8 or value)
end

-- How long a call takes of the requests' and of the tokens' time. Forecasts reckon with the longest
-- answer: of what is forecast, the share is reserved that calls have really used.
local function times_of(rate_limit, tokens)
  local by_requests = rate_limit.requests and 60000 / rate_limit.requests or 0
  return by_requests, rate_limit.tokens and tokens * 60000 / rate_limit.tokens or 0
end

local function reserved_of(rate_limit, forecast)
  return forecast * math.min(1, rate_limit.share or 1)
end

local function leeway(each)
  return math.max(0, BURST - each)
end

-- When calls may be sent again, as far as that depends on those that were.
local function free_at(rate_limit, by_requests, by_tokens)
  return math.max(
    (rate_limit.requests_at or 0) - leeway(by_requests),
    (rate_limit.tokens_at or 0) - leeway(by_tokens)
  )
end

-- Calls that may be sent within the horizon, beyond the jobs claimed and not sent.
local function room_in_rate_limit(rate_limit)
  local by_requests, by_tokens = times_of(rate_limit, rate_limit.call_tokens or 0)
  local ahead = now + rate_limit.horizon - math.max(now, free_at(rate_limit, by_requests, by_tokens))
  local room, each = math.huge, math.max(by_requests, by_tokens)
  if ahead < 0 then
    room = 0 -- also where nobody knows yet how many tokens a call takes
  elseif each > 0 then
    room = math.floor(ahead / each) + 1
  end
  if rate_limit.concurrency then
    room = math.min(room, rate_limit.concurrency + math.ceil(rate_limit.concurrency / 4) - (rate_limit.calls_out or 0))
  end
  if rate_limit.step then
    room = math.min(room, rate_limit.step - ((rate_limit.calls_out or 0) - (rate_limit.calls_before or 0)))
  end
  return room - (rate_limit.at_hand or 0)
end

-- The model can't be asked for longer than a worker may wait with the job in its hands.
local function rests_long(rate_limit)
  return rate_limit.is_limited and free_at(rate_limit, times_of(rate_limit, 0)) - now > rate_limit.longest_wait
end

-- Ends the hold of lanes by the model's rate limit.
local function look_at_model_again(model)
  redis.call('ZADD', K.hold_ends, 'XX', at(now), 'pace:' .. model)
end

-- One call at a time from now on, then two, four …, as long as the model answers. Those that are out
-- take no place: one that hangs must not stop it.
local function put_on_trial(key)
  local calls_out = redis.call('HGET', key, 'calls_out') or 0
  redis.call('HSET', key, 'step', 1, 'rested', at(now), 'calls_before', calls_out)
end

-- Whether the call was sent before the model was put on trial: it says nothing of the time since.
local function is_from_before(job, model)
  local rested = redis.call('HGET', K.rate_limit .. model, 'rested')
  return rested and tonumber(redis.call('HGET', job, 'sent_at') or 0) <= tonumber(rested)
end

local function call_left_rate_limit(job)
  local model = model_of(redis.call('HGET', job, 'lane'))
  if is_from_before(job, model) then
    redis.call('HINCRBY', K.rate_limit .. model, 'calls_before', -1)
  end
  count_down(model, 'calls_out', 'at_hand')
  if limits_of(model).concurrency or redis.call('HEXISTS', K.rate_limit .. model, 'step') == 1 then
    look_at_model_again(model)
  end
end

