-- Gives a worker the job that a hint named, under a random token and a lease.
-- ARGV: now, id, token, worker, pool, lease (ms), newest version of documents that the worker reads
-- Returns {'claimed', now, document, submitted, attempts, waits, unknown calls, interrupted,
--   lapses, cost, faulty answer to mend or '', what the provider said of a
--   model that it does not know or '', the submitter's `traceparent` or ''}
--   or {'refused', state, what kept the job back or ''}; calls that were excused (resume) are left out of the unknown ones

local id, token, worker, pool, lease = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local job = K.job .. id
local state, lane, holder, version = unpack(
  redis.call('HMGET', job, 'state', 'lane', 'token', 'version')
)

local function park_as_too_new()
  release_hint(lane)
  clear_earmark(job)
  move(job, 'hinted', 'parked')
  redis.call('HSET', job, 'reason', 'newer_worker_needed')
  redis.call('ZADD', K.parked, at(now), id)
  redis.call('ZADD', K.too_new, version, id)
  redis.call('ZREM', K.due, id)
  emit_event(id, 'parked', 'newer_worker_needed')
  wake()
end

if state == 'hinted' and tonumber(version or 1) > tonumber(ARGV[7]) then
  park_as_too_new()
  return { 'refused', 'parked', 'too_new' }
end
local key = gate_of(pool)
if state == 'hinted' and jobs_left(key, read_gate(key)) <= 0 then
  release_hint(lane)
  requeue(id, job, 'hinted')
  return { 'refused', 'queued', 'gate_closed' }
end
if state == 'hinted' and held_by(lane) then
  release_hint(lane)
  requeue(id, job, 'hinted')
  return { 'refused', 'queued', 'held' }
end
if state == 'hinted' and rests_long(read_rate_limit(model_of(lane))) then
  release_hint(lane)
  requeue(id, job, 'hinted')
  return { 'refused', 'queued', 'rate_limited' }
end
if state == 'hinted' then
  release_hint(lane)
  move(job, 'hinted', 'in_progress')
  redis.call('HINCRBY', K.pool_busy, pool, 1)
  redis.call('HSET', job, 'token', token, 'worker', worker, 'pool', pool)
  redis.call('HDEL', job, 'hints')
  redis.call('ZADD', K.due, at(now + lease), id)
elseif not (state == 'in_progress' and holder == token) then -- a repeated claim is the same claim
  return { 'refused', state or 'missing', '' }
end

local document, submitted, attempts, waits, unknown_calls, interrupted, lapses, cost, invalid_answer, trace, excused = unpack(
  redis.call('HMGET', job, 'document', 'submitted', 'attempts', 'waits', 'unknown_calls', 'interrupted', 'lapses', 'cost', 'faulty', 'trace', 'excused')
)
-- Who claims is told of an interrupted call until somebody has finished: a reply can be lost, and so
-- can a worker that was told.
return {
  'claimed', at(now), document, submitted,
  attempts or '0', waits or '0', at(math.max(0, (unknown_calls or 0) - (excused or 0))), interrupted and '1' or '0', lapses or '0', cost or '0',
  invalid_answer or '',
  redis.call('GET', missing_model(key, lane)) or '',
  trace or '',
}
