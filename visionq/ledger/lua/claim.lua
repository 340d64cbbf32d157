-- include: core/base, core/events, gates/gates, jobs/batch_lane, jobs/moves, jobs/slots, lanes/holds
-- include: lanes/lanes, money/waiters, rate_limit/limits

-- Gives a worker the job that a hint named, under a random token and a lease.
-- ARGV: now, the claim as JSON; returns JSON too (`claim` in visionq/ledger/calls.py): what the worker
--   needs to know of the job, or of a job that it can't have the state and what keeps it back

local claim = cjson.decode(ARGV[2])
local job = K.job .. claim.id
local was = read(job, 'state', 'lane', 'token', 'version')
local state, lane, key = was.state, was.lane, gate_of(claim.pool)

local function refused(its_state, reason)
  return cjson.encode({ state = its_state, reason = reason })
end

local function park_as_too_new()
  release_hint(lane)
  clear_earmark(job)
  move(job, State.HINTED, State.PARKED)
  redis.call('HSET', job, 'reason', DelayReason.NEWER_WORKER_NEEDED)
  redis.call('ZADD', K.parked, at(now), claim.id)
  redis.call('ZADD', K.too_new, was.version, claim.id)
  redis.call('ZREM', K.due, claim.id)
  emit_event(claim.id, State.PARKED, DelayReason.NEWER_WORKER_NEEDED)
  wake()
end

local function put_back(reason)
  release_hint(lane)
  requeue(claim.id, job, State.HINTED)
  return refused(State.QUEUED, reason)
end

local function take()
  release_hint(lane)
  move(job, State.HINTED, State.IN_PROGRESS)
  redis.call('HINCRBY', K.pool_busy, claim.pool, 1)
  redis.call('HSET', job, 'token', claim.token, 'worker', claim.worker, 'pool', claim.pool)
  redis.call('HDEL', job, 'hints')
  redis.call('ZADD', K.due, at(now + claim.lease), claim.id)
end

if state == State.HINTED then
  if tonumber(was.version or 1) > claim.schema_version then
    park_as_too_new()
    return refused(State.PARKED, RefusalReason.TOO_NEW)
  elseif jobs_left(key, read_gate(key)) <= 0 then
    return put_back(RefusalReason.GATE_CLOSED)
  elseif held_by(lane) then
    return put_back(RefusalReason.HELD)
  elseif not is_batch_lane(lane) and rests_long(read_rate_limit(model_of(lane))) then
    return put_back(RefusalReason.RATE_LIMITED)
  end
  take()
elseif not (state == State.IN_PROGRESS and was.token == claim.token) then
  return refused(state or State.MISSING) -- but a repeated claim is the same claim
end

-- Each claim reports an interrupted call until an attempt has finished: a reply can be lost, and
-- so can the worker that read it. Unknown calls that were excused (resume.lua) are left out.
local found = read(
  job, 'document', 'submitted', 'attempts', 'waits', 'unknown_calls', 'interrupted', 'lapses', 'cost', 'faulty', 'trace', 'excused',
  'tier'
)
found.now = at(now)
found.unknown_calls = math.max(0, (found.unknown_calls or 0) - (found.excused or 0))
found.missing_model = redis.call('GET', missing_model(key, lane))
return cjson.encode(found)
