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
local function read_pace(model)
  local pace, limits = { key = K.pace .. model }, limits_of(model)
  for i, value in ipairs(redis.call('HMGET', pace.key, unpack(PACE))) do
    pace[PACE[i]] = tonumber(value or nil)
  end
  local told = least(limits.requests_per_minute, pace.told_requests)
  local tokens = least(limits.tokens_per_minute, pace.told_tokens)
  pace.told = told and told * MARGIN
  pace.tokens = tokens and tokens * MARGIN
  pace.concurrency = limits.concurrency
  pace.learned = pace.ceiling and learned_rate(pace.ceiling, pace.start, pace.span, pace.passes or 0)
  pace.requests = least(pace.told, pace.learned)
  pace.is_limited = (pace.requests or pace.tokens or pace.concurrency or pace.step) and true
  pace.horizon = math.min(math.max(HORIZON, (pace.way or 0) * 1.5), LONGEST_HORIZON)
  pace.longest_wait = 2 * pace.horizon + 1000
  return pace
end

local function keep(pace, field, value)
  redis.call('HSET', pace.key, field, string.format('%.3f', value))
end

-- A moving average: an eighth of each new value.
local function average(pace, field, value)
  keep(pace, field, pace[field] and pace[field] + (value - pace[field]) / 8 or value)
end

-- How long a call takes of the requests' and of the tokens' time. Forecasts reckon with the longest
-- answer: of what is forecast, the share is reserved that calls have really used.
local function times_of(pace, tokens)
  local by_requests = pace.requests and 60000 / pace.requests or 0
  return by_requests, pace.tokens and tokens * 60000 / pace.tokens or 0
end

local function reserved_of(pace, forecast)
  return forecast * math.min(1, pace.share or 1)
end

local function leeway(each)
  return math.max(0, BURST - each)
end

-- When calls may be sent again, as far as that depends on those that were.
local function free_at(pace, by_requests, by_tokens)
  return math.max(
    (pace.requests_at or 0) - leeway(by_requests),
    (pace.tokens_at or 0) - leeway(by_tokens)
  )
end

-- Calls that may be sent within the horizon, beyond the jobs that are at hand.
local function room_in_pace(pace)
  local by_requests, by_tokens = times_of(pace, pace.call_tokens or 0)
  local ahead = now + pace.horizon - math.max(now, free_at(pace, by_requests, by_tokens))
  local room, each = math.huge, math.max(by_requests, by_tokens)
  if ahead < 0 then
    room = 0 -- also where nobody knows yet how many tokens a call takes
  elseif each > 0 then
    room = math.floor(ahead / each) + 1
  end
  if pace.concurrency then
    room = math.min(room, pace.concurrency + math.ceil(pace.concurrency / 4) - (pace.calls_out or 0))
  end
  if pace.step then
    room = math.min(room, pace.step - ((pace.calls_out or 0) - (pace.calls_before or 0)))
  end
  return room - (pace.at_hand or 0)
end

-- The model can't be asked for longer than a worker may wait with the job in its hands.
local function rests_long(pace)
  return pace.is_limited and free_at(pace, times_of(pace, 0)) - now > pace.longest_wait
end

-- No more jobs can stand before one than are at hand: of those that were cancelled, or whose workers
-- died, with their permits, nobody keeps the places free.
local function last_place(pace, free, each)
  return math.max(now, free) + BURST + math.max(0, (pace.at_hand or 0) - 1) * each
end

-- When the call may be sent: now or earlier, later, or nil for so late that the job must not wait
-- for it in a worker's hands, and how late. Who is told a time has it as a permit; others get later
-- ones.
local function permit_for(pace, job, forecast)
  local taken, permit = unpack(redis.call('HMGET', job, 'taken', 'permit'))
  if taken and not permit then
    average(pace, 'way', now - taken)
  end
  if not pace.is_limited then
    return now
  end
  local by_requests, by_tokens = times_of(pace, reserved_of(pace, forecast))
  local free = free_at(pace, by_requests, by_tokens)
  permit = tonumber(permit or nil)
  if not permit or free > math.max(permit, now) + math.max(SLACK, by_requests / 2) then
    local each = math.max(by_requests, by_tokens)
    permit = math.max(math.min(pace.next or 0, last_place(pace, free, each)), now - BURST, free)
    if permit - now > pace.longest_wait then
      return nil, permit
    end
    redis.call('HSET', job, 'permit', string.format('%.3f', permit))
    keep(pace, 'next', permit + each)
  end
  permit = math.max(permit, free)
  if pace.concurrency and (pace.calls_out or 0) >= pace.concurrency then
    permit = math.max(permit, now + RECHECK)
  end
  return permit
end

-- The call leaves: what it takes of the limits is taken from now on.
local function leave_at_pace(pace, job, forecast)
  local by_requests, by_tokens = times_of(pace, reserved_of(pace, forecast))
  redis.call('HINCRBY', pace.key, 'calls_out', 1)
  leave_hand(job)
  redis.call(
    'HSET', job,
    'sent_at', at(now), 'forecast', at(forecast), 'tokens', at(reserved_of(pace, forecast))
  )
  if pace.requests then
    keep(pace, 'requests_at', math.max(pace.requests_at or 0, now) + by_requests * GUARD)
  end
  if pace.tokens then
    keep(pace, 'tokens_at', math.max(pace.tokens_at or 0, now) + by_tokens * GUARD)
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
  local rested = redis.call('HGET', K.pace .. model, 'rested')
  return rested and tonumber(redis.call('HGET', job, 'sent_at') or 0) <= tonumber(rested)
end

local function call_left_pace(job)
  local model = model_of(redis.call('HGET', job, 'lane'))
  if is_from_before(job, model) then
    redis.call('HINCRBY', K.pace .. model, 'calls_before', -1)
  end
  count_down(model, 'calls_out', 'at_hand')
  if limits_of(model).concurrency or redis.call('HEXISTS', K.pace .. model, 'step') == 1 then
    look_at_model_again(model)
  end
end

-- What the provider says of its limits holds at once. Under others calls were refused, or will be,
-- for reasons that are past.
local function adopt(model, news)
  local pace, is_changed = read_pace(model), false
  for field, told in pairs({ told_requests = news.requests_limit, told_tokens = news.tokens_limit }) do
    if told > 0 and told ~= pace[field] then
      keep(pace, field, told)
      is_changed = true
    end
  end
  if not is_changed then
    return pace
  end
  redis.call('HSET', pace.key, 'cut_at', at(now))
  redis.call('HDEL', pace.key, 'ceiling', 'calm', 'proven', 'trial', 'patience')
  look_at_model_again(model)
  return read_pace(model)
end

-- The rate below which rare refusals bring nothing down: were a limit their cause, what succeeds at
-- this rate would be the limit. Else a model that refuses now and then, whatever it is asked, would
-- be asked ever less. Then more is tried, for the limit may be nowhere near.
local function prove(pace, rate)
  local calm, proven = redis.call('HINCRBY', pace.key, 'calm', 1), pace.proven or 0
  if not pace.proven and calm >= CALM then
    proven = rate * (1 - pace.refusals) * PROVEN
    keep(pace, 'proven', proven)
  end
  if calm >= (pace.patience or PATIENCE) then
    keep(pace, 'trial', pace.refusals)
  end
  return proven
end

-- More is being tried, and more calls are refused for it: returns the rate that the model bears.
local function end_trial(pace, rate)
  -- The share is an average over many calls: by now about twice as many more are refused.
  local borne = rate * (1 - 2 * (pace.refusals - pace.trial))
  keep(pace, 'proven', borne * (1 - pace.trial) * PROVEN)
  keep(pace, 'patience', math.min(2 * (pace.patience or PATIENCE), MOST_CALM))
  redis.call('HDEL', pace.key, 'calm', 'trial')
  return borne
end

-- A call was refused: less from now on. How much less depends on what is known: a limit that was told
-- is hardly wrong; one that nobody told is near what has succeeded lately. Where few calls are refused
-- the limit is just here, or nowhere near: providers refuse now and then for reasons of their own.
-- Returns the time between two calls, or nil while a refusal is borne because more is being tried.
local function cut(pace)
  local asked = (pace.passes or 0) + math.max(1, pace.calls_out or 0)
  local estimate = asked * 60000 / math.max(1000, now - (pace.since or now))
  local rate, is_soon = pace.requests, pace.learned and (pace.passes or 0) < SOON
  local is_rare = rate and (pace.refusals or 0) < RARE
  local ceiling, start, span
  if pace.trial and pace.refusals <= math.min(pace.trial + NOTICED, RARE) then
    return nil
  elseif is_rare then
    if pace.trial then
      ceiling = math.max(1, end_trial(pace, rate))
    else
      local proven = prove(pace, rate)
      ceiling = math.max(1, rate, (pace.learned and pace.ceiling or 0) * 0.995, proven)
    end
    start, span = ceiling * 0.97, pace.told and math.max(15, ceiling / 12) or math.max(30, ceiling / 6)
  elseif pace.told then
    ceiling = math.max(1, rate)
    start, span = ceiling * (is_soon and 0.8 or 0.96), math.max(15, ceiling / 12)
  else
    ceiling = is_soon and rate or rate and math.min(rate * 0.98, estimate * 1.5) or estimate
    ceiling = math.max(1, ceiling)
    start, span = ceiling * (is_soon and 0.5 or 0.85), math.max(30, ceiling / 6)
  end
  if not is_rare then
    redis.call('HDEL', pace.key, 'calm', 'proven', 'trial', 'patience')
  end
  keep(pace, 'ceiling', ceiling)
  keep(pace, 'start', start)
  keep(pace, 'span', span)
  redis.call('HSET', pace.key, 'passes', 0, 'since', at(now), 'cut_at', at(now))
  return 60000 / start
end

-- The share of calls that are refused lately.
local function note_refusal(pace, refused)
  local share = pace.refusals or 0
  if refused or share > 0.02 then
    keep(pace, 'refusals', share + ((refused and 1 or 0) - share) / 64)
  end
end

local function pause(pace, length, each)
  keep(pace, 'requests_at', math.max(pace.requests_at or 0, now + length + leeway(each)))
end

local function count_success(pace)
  local idle = now - (pace.last or now)
  local since = pace.since or 0
  if idle > math.max(IDLE, pace.requests and 300000 / pace.requests or 0) then
    since = since + idle
  end
  if not pace.learned and now - since > WINDOW then
    redis.call('HSET', pace.key, 'passes', 1, 'since', at(now), 'last', at(now))
    -- A trial that came so far goes on: nothing limits, and rare refusals are no news.
    redis.call('HDEL', pace.key, 'ceiling', 'calm', 'proven', 'patience')
  else
    redis.call('HINCRBY', pace.key, 'passes', 1)
    redis.call('HSET', pace.key, 'since', at(since), 'last', at(now))
  end
end

-- The end of a call tells: `news` is JSON of `tokens` that were counted, the limits in `requests` and
-- `tokens_limit`, whether it was `refused` for the rate's sake, and the `pause` asked for.
local function hear_of_pace(job, news, billing)
  local lane, sent_at, forecast, tokens, waits = unpack(
    redis.call('HMGET', job, 'lane', 'sent_at', 'forecast', 'tokens', 'waits')
  )
  news = news == '' and {} or cjson.decode(news)
  local pace = adopt(model_of(lane), news)
  local used = billing == 'released' and 0 or news.tokens
  if pace.tokens and used then
    local excess = (used - tonumber(tokens or 0)) * 60000 / pace.tokens
    keep(pace, 'tokens_at', (pace.tokens_at or now) + excess)
  end
  if news.tokens and news.tokens > 0 and tonumber(forecast or 0) > 0 then
    average(pace, 'call_tokens', news.tokens)
    average(pace, 'share', news.tokens / forecast)
  end
  local is_news = tonumber(sent_at or 0) > (pace.cut_at or 0)
  if news.refused then
    local each = pace.requests and 60000 / pace.requests or 0
    local length = 0
    if is_news and tonumber(waits or 0) < MOST_REFUSALS then
      length = cut(pace) or 0
      each = length > 0 and length or each
    end
    note_refusal(pace, true)
    if news.pause and news.pause > LONGEST_PAUSE_TOLD then
      put_on_trial(pace.key)
    end
    pause(pace, news.pause and math.min(news.pause, LONGEST_PAUSE_TOLD) + SLACK or length, each)
  elseif billing == 'settled' then
    note_refusal(pace, false)
    if is_news then
      count_success(pace)
    end
  end
end
