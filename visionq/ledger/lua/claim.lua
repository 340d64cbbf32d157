-- include: core/base, core/events, gates/gates, jobs/batch_lane, jobs/claims, jobs/moves, jobs/slots
-- include: lanes/holds, lanes/lanes, money/waiters, rate_limit/limits

-- Gives a worker the job that a hint named, under a random token and a lease.
-- ARGV: now, id, token, worker, pool, lease (ms), newest version of documents that the worker reads
-- Returns what is known of the job, as `as_fields` (jobs/claims.lua) has it; of a job that the worker can't have
--   only its `state`, and the `reason`, if the ledger keeps it back

local id, token, worker, pool, lease, version = unpack(ARGV, 2)
local job = K.job .. id
local known = read_claimed(job)
local lane, key = known.lane, gate_of(pool)

local function refused(state, reason)
  return as_fields({ state = state, reason = reason })
end

local function park_as_too_new()
  release_hint(lane)
  clear_earmark(job)
  move(job, State.HINTED, State.PARKED, 'reason', DelayReason.NEWER_WORKER_NEEDED)
  redis.call('ZADD', K.too_new, known.version, id)
  redis.call('ZREM', K.due, id)
  emit_event(id, State.PARKED, DelayReason.NEWER_WORKER_NEEDED)
  wake()
end

local function put_back(reason)
  release_hint(lane)
  requeue(id, job, State.HINTED)
  return refused(State.QUEUED, reason)
end

if known.state == State.HINTED then
  if tonumber(known.version or 1) > tonumber(version) then
    park_as_too_new()
    return refused(State.PARKED, RefusalReason.TOO_NEW)
  elseif jobs_left(key, read_gate(key)) <= 0 then
    return put_back(RefusalReason.GATE_CLOSED)
  elseif held_by(lane) then
    return put_back(RefusalReason.HELD)
  elseif not is_batch_lane(lane) and rests_long(read_rate_limit(model_of(lane))) then
    return put_back(RefusalReason.RATE_LIMITED)
  end
  release_hint(lane)
  take_slot(id, job, State.HINTED, lease, token, worker, pool)
elseif not (known.state == State.IN_PROGRESS and known.token == token) then
  return refused(known.state or State.MISSING) -- but a repeated claim is the same claim
end

-- Each claim reports an interrupted call until an attempt has finished: a reply can be lost, and so can
-- the worker that read it.
known.missing_model = redis.call('GET', missing_model(key, lane))
return as_fields(known)
