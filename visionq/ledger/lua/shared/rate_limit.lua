-- Pace: how fast a model is asked. One hash a model holds what the provider told of its limits, what
-- was learned from its refusals, and until when requests and tokens are taken. All rates are for a
-- minute, all times in milliseconds.

local MARGIN = 0.97 -- of what is told, so that the unevenness of the way is no excess
local GUARD = 0.985 -- of a call's time must lie between two calls as they are really sent
local BURST = 500 -- of lateness may be made up for at once, by calls that are small against it
local HORIZON = 2000 -- jobs are taken for what may be sent within this time …
local LONGEST_HORIZON = 10000 -- … or, where they are long on their way to the call, within theirs
local SLACK = 50 -- by which a permit may be late and still hold
local RECHECK = 250 -- between two looks at a model that can't be asked now
local WINDOW = 10000 -- over which successes are counted while nothing limits
local IDLE = 2000 -- without a success are no time of work, nor is that of five calls
local SOON = 10 -- successes: a refusal before so many means that the cut was too small
local MOST_REFUSALS = 3 -- of one job in a row: from then on it speaks for itself alone
local RARE = 0.2 -- of calls refused: up to here a refusal is hardly the rate's fault
local CALM = 16 -- cuts with few refusals in a row, after which their share is known …
local PROVEN = 0.95 -- … and what succeeds by it is a rate that the model bears
local PATIENCE = 40 -- such cuts, after which more is tried:
local NOTICED = 0.06 -- more of the calls refused than before say that there is a limit …
local MOST_CALM = 1024 -- … and the next trial waits for twice as many cuts, at most so many
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

local function least(one, other)
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
  'requests_at', 'tokens_at', 'calls_out', 'at_hand', 'way', 'call_tokens', 'share', 'last',
  'refusals', 'calm', 'proven', 'trial', 'patience', 'step', 'calls_before',
}

-- `requests` and `tokens` are what may be used in a minute, nil where nothing limits them.
local function read_rate_limit(model)
  local rate_limit, limits = { key = K.rate_limit .. model }, limits_of(model)
  for i, value in ipairs(redis.call('HMGET', rate_limit.key, unpack(PACE))) do
    rate_limit[PACE[i]] = tonumber(value or nil)
  end
  local told = least(limits.requests_per_minute, rate_limit.told_requests)
  local tokens = least(limits.tokens_per_minute, rate_limit.told_tokens)
  rate_limit.told = told and told * MARGIN
  rate_limit.tokens = tokens and tokens * MARGIN
  rate_limit.concurrency = limits.concurrency
  rate_limit.learned = rate_limit.ceiling and learned_rate(rate_limit.ceiling, rate_limit.start, rate_limit.span, rate_limit.passes or 0)
  rate_limit.requests = least(rate_limit.told, rate_limit.learned)
  rate_limit.is_limited = (rate_limit.requests or rate_limit.tokens or rate_limit.concurrency or rate_limit.step) and true
  rate_limit.horizon = math.min(math.max(HORIZON, (rate_limit.way or 0) * 1.5), LONGEST_HORIZON)
  rate_limit.longest_wait = 2 * rate_limit.horizon + 1000
  return rate_limit
end

local function keep(rate_limit, field, value)
  redis.call('HSET', rate_limit.key, field, string.format('%.3f', value))
end

-- A moving average: an eighth of each new value.
local function average(rate_limit, field, value)
  keep(rate_limit, field, rate_limit[field] and rate_limit[field] + (value - rate_limit[field]) / 8 or value)
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

-- Calls that may be sent within the horizon, beyond the jobs that are at hand.
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

-- No more jobs can stand before one than are at hand: of those that were cancelled, or whose workers
-- died, with their permits, nobody keeps the places free.
local function last_place(rate_limit, free, each)
  return math.max(now, free) + BURST + math.max(0, (rate_limit.at_hand or 0) - 1) * each
end

-- When the call may be sent: now or earlier, later, or nil for so late that the job must not wait
-- for it in a worker's hands, and how late. Who is told a time has it as a permit; others get later
-- ones.
local function permit_for(rate_limit, job, forecast)
  local taken, permit = unpack(redis.call('HMGET', job, 'taken', 'permit'))
  if taken and not permit then
    average(rate_limit, 'way', now - taken)
  end
  if not rate_limit.is_limited then
    return now
  end
  local by_requests, by_tokens = times_of(rate_limit, reserved_of(rate_limit, forecast))
  local free = free_at(rate_limit, by_requests, by_tokens)
  permit = tonumber(permit or nil)
  if not permit or free > math.max(permit, now) + math.max(SLACK, by_requests / 2) then
    local each = math.max(by_requests, by_tokens)
    permit = math.max(math.min(rate_limit.next or 0, last_place(rate_limit, free, each)), now - BURST, free)
    if permit - now > rate_limit.longest_wait then
      return nil, permit
    end
    redis.call('HSET', job, 'permit', string.format('%.3f', permit))
    keep(rate_limit, 'next', permit + each)
  end
  permit = math.max(permit, free)
  if rate_limit.concurrency and (rate_limit.calls_out or 0) >= rate_limit.concurrency then
    permit = math.max(permit, now + RECHECK)
  end
  return permit
end

-- The call leaves: what it takes of the limits is taken from now on.
local function release_rate_limit(rate_limit, job, forecast)
  local by_requests, by_tokens = times_of(rate_limit, reserved_of(rate_limit, forecast))
  redis.call('HINCRBY', rate_limit.key, 'calls_out', 1)
  uncount_unsent(job)
  redis.call(
    'HSET', job,
    'sent_at', at(now), 'forecast', at(forecast), 'tokens', at(reserved_of(rate_limit, forecast))
  )
  if rate_limit.requests then
    keep(rate_limit, 'requests_at', math.max(rate_limit.requests_at or 0, now) + by_requests * GUARD)
  end
  if rate_limit.tokens then
    keep(rate_limit, 'tokens_at', math.max(rate_limit.tokens_at or 0, now) + by_tokens * GUARD)
  end
end

-- Lanes that stand aside for the model's pace are looked at again at once.
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

-- What the provider says of its limits holds at once. Under others calls were refused, or will be,
-- for reasons that are past.
local function adopt(model, news)
  local rate_limit, is_changed = read_rate_limit(model), false
  for field, told in pairs({ told_requests = news.requests_limit, told_tokens = news.tokens_limit }) do
    if told > 0 and told ~= rate_limit[field] then
      keep(rate_limit, field, told)
      is_changed = true
    end
  end
  if not is_changed then
    return rate_limit
  end
  redis.call('HSET', rate_limit.key, 'cut_at', at(now))
  redis.call('HDEL', rate_limit.key, 'ceiling', 'calm', 'proven', 'trial', 'patience')
  look_at_model_again(model)
  return read_rate_limit(model)
end

-- The rate below which rare refusals bring nothing down: were a limit their cause, what succeeds at
-- this rate would be the limit. Else a model that refuses now and then, whatever it is asked, would
-- be asked ever less. Then more is tried, for the limit may be nowhere near.
local function prove(rate_limit, rate)
  local calm, proven = redis.call('HINCRBY', rate_limit.key, 'calm', 1), rate_limit.proven or 0
  if not rate_limit.proven and calm >= CALM then
    proven = rate * (1 - rate_limit.refusals) * PROVEN
    keep(rate_limit, 'proven', proven)
  end
  if calm >= (rate_limit.patience or PATIENCE) then
    keep(rate_limit, 'trial', rate_limit.refusals)
  end
  return proven
end

-- More is being tried, and more calls are refused for it: returns the rate that the model bears.
local function end_trial(rate_limit, rate)
  -- The share is an average over many calls: by now about twice as many more are refused.
  local borne = rate * (1 - 2 * (rate_limit.refusals - rate_limit.trial))
  keep(rate_limit, 'proven', borne * (1 - rate_limit.trial) * PROVEN)
  keep(rate_limit, 'patience', math.min(2 * (rate_limit.patience or PATIENCE), MOST_CALM))
  redis.call('HDEL', rate_limit.key, 'calm', 'trial')
  return borne
end

-- A call was refused: less from now on. How much less depends on what is known: a limit that was told
-- is hardly wrong; one that nobody told is near what has succeeded lately. Where few calls are refused
-- the limit is just here, or nowhere near: providers refuse now and then for reasons of their own.
-- Returns the time between two calls, or nil while a refusal is borne because more is being tried.
local function cut(rate_limit)
  local asked = (rate_limit.passes or 0) + math.max(1, rate_limit.calls_out or 0)
  local estimate = asked * 60000 / math.max(1000, now - (rate_limit.since or now))
  local rate, is_soon = rate_limit.requests, rate_limit.learned and (rate_limit.passes or 0) < SOON
  local is_rare = rate and (rate_limit.refusals or 0) < RARE
  local ceiling, start, span
  if rate_limit.trial and rate_limit.refusals <= math.min(rate_limit.trial + NOTICED, RARE) then
    return nil
  elseif is_rare then
    if rate_limit.trial then
      ceiling = math.max(1, end_trial(rate_limit, rate))
    else
      local proven = prove(rate_limit, rate)
      ceiling = math.max(1, rate, (rate_limit.learned and rate_limit.ceiling or 0) * 0.995, proven)
    end
    start, span = ceiling * 0.97, rate_limit.told and math.max(15, ceiling / 12) or math.max(30, ceiling / 6)
  elseif rate_limit.told then
    ceiling = math.max(1, rate)
    start, span = ceiling * (is_soon and 0.8 or 0.96), math.max(15, ceiling / 12)
  else
    ceiling = is_soon and rate or rate and math.min(rate * 0.98, estimate * 1.5) or estimate
    ceiling = math.max(1, ceiling)
    start, span = ceiling * (is_soon and 0.5 or 0.85), math.max(30, ceiling / 6)
  end
  if not is_rare then
    redis.call('HDEL', rate_limit.key, 'calm', 'proven', 'trial', 'patience')
  end
  keep(rate_limit, 'ceiling', ceiling)
  keep(rate_limit, 'start', start)
  keep(rate_limit, 'span', span)
  redis.call('HSET', rate_limit.key, 'passes', 0, 'since', at(now), 'cut_at', at(now))
  return 60000 / start
end

-- The share of calls that are refused lately.
local function note_refusal(rate_limit, refused)
  local share = rate_limit.refusals or 0
  if refused or share > 0.02 then
    keep(rate_limit, 'refusals', share + ((refused and 1 or 0) - share) / 64)
  end
end

local function pause(rate_limit, length, each)
  keep(rate_limit, 'requests_at', math.max(rate_limit.requests_at or 0, now + length + leeway(each)))
end

local function count_success(rate_limit)
  local idle = now - (rate_limit.last or now)
  local since = rate_limit.since or 0
  if idle > math.max(IDLE, rate_limit.requests and 300000 / rate_limit.requests or 0) then
    since = since + idle
  end
  if not rate_limit.learned and now - since > WINDOW then
    redis.call('HSET', rate_limit.key, 'passes', 1, 'since', at(now), 'last', at(now))
    -- A trial that came so far goes on: nothing limits, and rare refusals are no news.
    redis.call('HDEL', rate_limit.key, 'ceiling', 'calm', 'proven', 'patience')
  else
    redis.call('HINCRBY', rate_limit.key, 'passes', 1)
    redis.call('HSET', rate_limit.key, 'since', at(since), 'last', at(now))
  end
end

-- The end of a call tells: `news` is JSON of `tokens` that were counted, the limits in `requests` and
-- `tokens_limit`, whether it was `refused` for the rate's sake, and the `pause` asked for.
local function record_feedback(job, news, billing)
  local lane, sent_at, forecast, tokens, waits = unpack(
    redis.call('HMGET', job, 'lane', 'sent_at', 'forecast', 'tokens', 'waits')
  )
  news = news == '' and {} or cjson.decode(news)
  local rate_limit = adopt(model_of(lane), news)
  local used = billing == 'released' and 0 or news.tokens
  if rate_limit.tokens and used then
    local excess = (used - tonumber(tokens or 0)) * 60000 / rate_limit.tokens
    keep(rate_limit, 'tokens_at', (rate_limit.tokens_at or now) + excess)
  end
  if news.tokens and news.tokens > 0 and tonumber(forecast or 0) > 0 then
    average(rate_limit, 'call_tokens', news.tokens)
    average(rate_limit, 'share', news.tokens / forecast)
  end
  local is_news = tonumber(sent_at or 0) > (rate_limit.cut_at or 0)
  if news.refused then
    local each = rate_limit.requests and 60000 / rate_limit.requests or 0
    local length = 0
    if is_news and tonumber(waits or 0) < MOST_REFUSALS then
      length = cut(rate_limit) or 0
      each = length > 0 and length or each
    end
    note_refusal(rate_limit, true)
    if news.pause and news.pause > LONGEST_PAUSE_TOLD then
      put_on_trial(rate_limit.key)
    end
    pause(rate_limit, news.pause and math.min(news.pause, LONGEST_PAUSE_TOLD) + SLACK or length, each)
  elseif billing == 'settled' then
    note_refusal(rate_limit, false)
    if is_news then
      count_success(rate_limit)
    end
  end
end
