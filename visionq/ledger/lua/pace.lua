-- How fast models may be asked now. Changes nothing.
-- ARGV: now, models …
-- Returns for each: {requests a minute, tokens a minute, calls at a time, what the rate comes from
--   (learned | told | ''), when the next call may be sent (ms), calls out, jobs at hand}, '' for none

local function text(number)
  return number and string.format('%.3f', number) or ''
end

local paces = {}
for i = 2, #ARGV do
  local pace = read_pace(ARGV[i])
  local source = pace.requests and (pace.requests == pace.told and 'told' or 'learned') or ''
  local free = free_at(pace, times_of(pace, 0))
  paces[#paces + 1] = {
    text(pace.requests), text(pace.tokens), text(pace.concurrency), source,
    text(math.max(now, free)), text(pace.calls_out or 0), text(pace.at_hand or 0),
  }
end
return paces
