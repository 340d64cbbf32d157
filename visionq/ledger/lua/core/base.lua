-- The time, and what every script needs. ARGV[1] is milliseconds since the epoch, '' for Redis's clock.

local function read_clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local now = tonumber(ARGV[1]) or read_clock()

local TERMINAL = { [State.COMPLETED] = true, [State.FAILED] = true, [State.CANCELLED] = true }

local function at(moment)
  return string.format('%.0f', moment)
end

-- Returns fields of a hash by name; a field that is not there is false.
local function read(key, ...)
  local fields, names = {}, { ... }
  for place, value in ipairs(redis.call('HMGET', key, ...)) do
    fields[names[place]] = value
  end
  return fields
end

-- Makes one dispatcher look now instead of at its next tick. One element is enough.
local function wake()
  if redis.call('LLEN', K.wake) == 0 then
    redis.call('LPUSH', K.wake, '1')
  end
end

