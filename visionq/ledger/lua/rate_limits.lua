-- include: core/base, rate_limit/limits

-- How fast models may be asked now. Changes nothing.
-- ARGV: now, models …
-- Returns for each: {requests a minute, tokens a minute, calls at a time, what the rate comes from
--   (`source` of RateLimitStatus or ''), when the next call may be sent (ms), calls out, jobs claimed and not sent}

local function text(number)
  return number and string.format('%.3f', number) or ''
end

local paces = {}
for i = 2, #ARGV do
  local rate_limit = read_rate_limit(ARGV[i])
  local source = rate_limit.requests and (rate_limit.requests == rate_limit.told and 'told' or 'learned') or ''
  local free = free_at(rate_limit, times_of(rate_limit, 0))
  paces[#paces + 1] = {
    text(rate_limit.requests), text(rate_limit.tokens), text(rate_limit.concurrency), source,
    text(math.max(now, free)), text(rate_limit.calls_out or 0), text(rate_limit.at_hand or 0),
  }
end
return paces
