-- include: core/base, lanes/lanes

-- Lets parked jobs of unknown billing ask once more, as an operator decided who knows that it may be paid
-- for again. Their earlier calls stay in the books.
-- ARGV: now, then the ids
-- Returns for each: resumed, or its state: missing, and what is not parked for that, stay as they are.

-- The question may be asked again, no matter which jobs' calls were counted for it.
local function ask_again(job)
  local fields = redis.call('HGETALL', job)
  for i = 1, #fields, 2 do
    if fields[i] == 'blocked_by' or string.sub(fields[i], 1, 5) == 'asks:' then
      redis.call('DEL', K.unclear .. fields[i + 1])
    end
  end
end

local function resume(id)
  local job = K.job .. id
  local state, reason, unknown_calls = unpack(
    redis.call('HMGET', job, 'state', 'reason', 'unknown_calls')
  )
  if state ~= State.PARKED or reason ~= DelayReason.BILLING_UNKNOWN then
    return state or State.MISSING
  end
  ask_again(job)
  redis.call('HDEL', job, 'blocked_by', 'interrupted', 'refused')
  redis.call('HSET', job, 'excused', math.max(0, tonumber(unknown_calls or 0) - 1))
  requeue(id, job, State.PARKED)
  return 'resumed'
end

local found = {}
for i = 2, #ARGV do
  found[#found + 1] = resume(ARGV[i])
end
wake()
return found
