-- Shared by every script, which runs behind this text and behind `local K`, the key names of
-- visionq/names.py. ARGV[1] is the time in milliseconds, or '' for Redis's own clock.

local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(ARGV[1])
end

local TERMINAL = { completed = true, failed = true, cancelled = true }

local function at(moment)
  return string.format('%.0f', moment)
end

-- Before the first write: a script that fails half-way can't be taken back. '' is no number.
local function refuse_unless_whole(...)
  for _, number in ipairs({ ... }) do
    if number ~= '' and not (string.match(number, '^%d+$') and #number <= MOST_DIGITS) then
      error('not a number that can be booked: ' .. number)
    end
  end
end

-- Makes one dispatcher look now instead of at its next tick. One element is enough.
local function wake()
  if redis.call('LLEN', K.wake) == 0 then
    redis.call('LPUSH', K.wake, '1')
  end
end

-- `kept` is about how many events stay.
local function emit_event(id, state, reason, kept)
  if not TERMINAL[state] then -- the end is counted by `conclude`, with more to say of it
    count('delayed|' .. state .. '|' .. (string.match(reason, '^[a-z_]+$') or 'other'))
  end
  local most = kept or 10000
  redis.call('XADD', K.events, 'MAXLEN', '~', most, '*', 'id', id, 'state', state, 'reason', reason)
end

-- For the operator, not for the job's owner.
local function notify_operator(subject, state, reason)
  redis.call('XADD', K.notices, 'MAXLEN', '~', 1000, '*', 'subject', subject, 'state', state, 'reason', reason)
end
