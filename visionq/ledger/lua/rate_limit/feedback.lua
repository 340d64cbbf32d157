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
  redis.call('HDEL', rate_limit.key, 'ceiling', 'usual')
  look_at_model_again(model)
  return read_rate_limit(model)
end

-- Start a climb towards `ceiling` and beyond it. Returns the time between two calls.
local function climb_to(rate_limit, ceiling)
  ceiling = math.max(1, ceiling)
  local start = ceiling * CUT
  save(rate_limit, 'ceiling', ceiling)
  save(rate_limit, 'start', start)
  save(rate_limit, 'span', math.max(30, ceiling / 3))
  redis.call('HSET', rate_limit.key, 'passes', 0, 'since', at(now), 'cut_at', at(now))
  redis.call('HDEL', rate_limit.key, 'refused_below', 'refused_above')
  return 60000 / start
end

-- A call was refused: slow down, unless the rate is hardly the reason. Providers refuse now and then at
-- any rate. The share that two climbs in a row saw refused below their ceilings is borne twice over
-- above the ceiling. Returns the time between two calls, or nil if the refusal is borne.
local function cut(rate_limit)
  local rate, passes, span = rate_limit.requests, rate_limit.passes or 0, rate_limit.span or 0
  local asked = passes + math.max(1, rate_limit.calls_out or 0)
  local lately = asked * 60000 / math.max(1000, now - (rate_limit.since or now))
  if not rate_limit.learned then
    return climb_to(rate_limit, rate or lately)
  end
  local is_below = passes < span
  local below = rate_limit.refused_below or 0
  local share = below / (span + below)
  local borne = is_below and RARE or math.min(RARE, 2 * math.min(share, rate_limit.usual or 0))
  local refused = redis.call('HINCRBY', rate_limit.key, is_below and 'refused_below' or 'refused_above', 1)
  if refused < 1 + borne * (refused + passes - (is_below and 0 or span)) then
    return nil
  end
  save(rate_limit, 'usual', share)
  -- The limit is between what was asked lately and the rate. If refusals began below the ceiling, that
  -- was too high as well: climb from where a limit refuses nothing.
  local least = share > 0 and rate / 2 or (lately + rate) / 2
  return climb_to(rate_limit, math.min(rate, math.max(lately, least)))
end

local function pause_requests(rate_limit, length, each)
  save(rate_limit, 'requests_at', math.max(rate_limit.requests_at or 0, now + length + leeway(each)))
end

local function count_success(rate_limit)
  if not rate_limit.learned and now - (rate_limit.since or 0) > WINDOW then
    set(rate_limit, 'passes', '1')
    set(rate_limit, 'since', at(now))
    if rate_limit.ceiling then
      redis.call('HDEL', rate_limit.key, 'ceiling')
    end
  else
    set(rate_limit, 'passes', at((rate_limit.passes or 0) + 1))
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
    if news.pause and news.pause > LONGEST_PAUSE_TOLD then
      put_on_trial(rate_limit.key)
    end
    pause_requests(rate_limit, news.pause and math.min(news.pause, LONGEST_PAUSE_TOLD) + SLACK or length, each)
  elseif billing == Billing.SETTLED and is_news then
    count_success(rate_limit)
  end
end
