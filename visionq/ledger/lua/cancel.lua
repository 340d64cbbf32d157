-- include: core/base, jobs/ending

-- Ends jobs from outside, in any state. A call that is out stays on the books, and
-- its answer and cost are kept when they come.
-- ARGV: now, state (cancelled | failed), reason, only jobs in this state ('' for any),
--   result ttl (s), blob grace (s), ended jobs and events to keep listed, then for each job: id, error document, Celery result
-- Returns for each job its state before: 'missing' and ended jobs stay as they are.

local to, reason, only = ARGV[2], ARGV[3], ARGV[4]
local keep = {
  ttl = tonumber(ARGV[5]),
  blob_grace = tonumber(ARGV[6]),
  finished = tonumber(ARGV[7]),
  events = tonumber(ARGV[8]),
}

-- At Redis's memory limit a script goes through only if its first write removes something.
redis.call('ZREM', K.parked, '')

local states = {}
for i = 9, #ARGV, 3 do
  local id, error_document, celery_result = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local job = K.job .. id
  local state = redis.call('HGET', job, 'state')
  if state and not TERMINAL[state] and (only == '' or only == state) then
    finalize(id, job, state, to, reason, error_document, celery_result, keep)
  end
  states[#states + 1] = state or State.MISSING
end
wake()
return states
