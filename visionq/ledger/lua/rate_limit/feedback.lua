-- include: core/base, jobs/moves, rate_limit/limits

-- Feedback: what the end of a call tells of its model's limits.

-- What the provider says of its limits holds at once. Under others calls were refused, or will be,
-- for reasons that are past.
local function adopt(model, rate_limit, news)
  local is_changed = false
  for field, told in pairs({ told_requests = news.requests_limit, told_tokens = news.tokens_limit }) do
    if told > 0 and told ~= rate_limit[field] then
      save(rate_limit, field, told)
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
-- this rate would be the limit. Else a model that refuses now and then at any rate would
-- be asked ever less. Then more is tried, for the limit may be nowhere near.
local function prove(rate_limit, rate)
  local calm, proven = redis.call('HINCRBY', rate_limit.key, 'calm', 1), rate_limit.proven or 0
  if not rate_limit.proven and calm >= CALM then
    proven = rate * (1 - rate_limit.refusals) * PROVEN
    save(rate_limit, 'proven', proven)
  end
  if calm >= (rate_limit.patience or PATIENCE) then
    save(rate_limit, 'trial', rate_limit.refusals)
  end
  return proven
end

-- More is being tried, and more calls are refused for it: returns the rate that the model bears.
local function end_trial(rate_limit, rate)
  -- The share is an average over many calls: by now about twice as many more are refused.
  local borne = rate * (1 - 2 * (rate_limit.refusals - rate_limit.trial))
  save(rate_limit, 'proven', borne * (1 - rate_limit.trial) * PROVEN)
  save(rate_limit, 'patience', math.min(2 * (rate_limit.patience or PATIENCE), MOST_CALM))
  redis.call('HDEL', rate_limit.key, 'calm', 'trial')
  return borne
end

-- A call was refused: slow down. How much depends on what is known: a limit that was announced
-- is hardly wrong; an unknown one is near what has succeeded lately. Where few calls are refused
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
  save(rate_limit, 'ceiling', ceiling)
  save(rate_limit, 'start', start)
  save(rate_limit, 'span', span)
  redis.call('HSET', rate_limit.key, 'passes', 0, 'since', at(now), 'cut_at', at(now))
  return 60000 / start
end

-- The share of calls that are refused lately.
local function note_refusal(rate_limit, refused)
  local share = rate_limit.refusals or 0
  if refused or share > 0.02 then
    save(rate_limit, 'refusals', share + ((refused and 1 or 0) - share) / 64)
  end
end

local function pause_requests(rate_limit, length, each)
  save(rate_limit, 'requests_at', math.max(rate_limit.requests_at or 0, now + length + leeway(each)))
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
    local passes = (rate_limit.passes or 0) + 1
    redis.call('HSET', rate_limit.key, 'passes', at(passes), 'since', at(since), 'last', at(now))
  end
end

-- The end of a call tells: `news` has the `tokens` that were counted, the limits in `requests_limit` and
-- `tokens_limit`, whether it was `refused` for the rate's sake, and the `pause` asked for. `call`: what the
-- job knows of it.
local function record_feedback(call, rate_limit, news, billing)
  rate_limit = adopt(model_of(call.lane), rate_limit, news)
  local used = billing == Billing.RELEASED and 0 or news.tokens
  if rate_limit.tokens and used then
    local excess = (used - tonumber(call.tokens or 0)) * 60000 / rate_limit.tokens
    save(rate_limit, 'tokens_at', (rate_limit.tokens_at or now) + excess)
  end
  if news.tokens and news.tokens > 0 and tonumber(call.forecast or 0) > 0 then
    average(rate_limit, 'call_tokens', news.tokens)
    average(rate_limit, 'share', news.tokens / call.forecast)
  end
  local is_news = tonumber(call.sent_at or 0) > (rate_limit.cut_at or 0)
  if news.refused then
    local each = rate_limit.requests and 60000 / rate_limit.requests or 0
    local length = 0
    if is_news and tonumber(call.waits or 0) < MOST_REFUSALS then
      length = cut(rate_limit) or 0
      each = length > 0 and length or each
    end
    note_refusal(rate_limit, true)
    if news.pause and news.pause > LONGEST_PAUSE_TOLD then
      put_on_trial(rate_limit.key)
    end
    pause_requests(rate_limit, news.pause and math.min(news.pause, LONGEST_PAUSE_TOLD) + SLACK or length, each)
  elseif billing == Billing.SETTLED then
    note_refusal(rate_limit, false)
    if is_news then
      count_success(rate_limit)
    end
  end
end
