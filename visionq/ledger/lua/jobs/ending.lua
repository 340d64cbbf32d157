-- include: blob_books/tenants, core/base, core/events, jobs/moves, jobs/slots, lanes/lanes
-- include: metrics/labels, money/waiters, single_flight/single_flight, webhooks/deliveries

-- The end ------------------------------------------------------------------------------------------

-- The ending of an attempt as JSON, Celery's result, and the answer if there is one, both as they are stored.
local function read_ending()
  local ending = cjson.decode(ARGV[2])
  ending.celery_result, ending.answer = ARGV[3], ARGV[4]
  return ending
end

-- The entry of a blob that no unfinished job needs, with its size, unknown once it is gone.
-- A blob outside Redis has none here.
local function garbage_entry(sha)
  return sha .. ' ' .. redis.call('STRLEN', K.blob .. sha)
end

local function release_blobs(tenant, blobs, grace)
  for sha in string.gmatch(blobs, '%S+') do
    tenant_lets_go(tenant, sha, redis.call('STRLEN', K.blob .. sha), now + grace * 1000)
    if redis.call('HINCRBY', K.blob_references, sha, -1) <= 0 then
      redis.call('HDEL', K.blob_references, sha)
      redis.call('EXPIRE', K.blob .. sha, grace)
      redis.call('ZADD', K.blob_garbage, at(now + grace * 1000), garbage_entry(sha))
    end
  end
end

-- Nothing more comes of a job that ended: what it keeps expires.
local function let_go(id, job)
  redis.call('ZREM', K.due, id)
  local ttl = redis.call('HGET', job, 'ttl')
  if ttl then
    redis.call('EXPIRE', job, ttl)
  end
end

-- A batch is kept from the end of its last job.
local function count_in_batch(id, to, ttl)
  local batch = K.batch .. id
  redis.call('HINCRBY', batch, to, 1)
  local total, completed, failed, cancelled = unpack(
    redis.call('HMGET', batch, 'total', State.COMPLETED, State.FAILED, State.CANCELLED)
  )
  if (completed or 0) + (failed or 0) + (cancelled or 0) >= tonumber(total or 0) then
    redis.call('EXPIRE', batch, ttl)
    redis.call('EXPIRE', K.book .. 'batch:' .. id, ttl)
  end
end

-- The newest of them, for as long as their jobs are kept.
local function list_finished(list, id, keep)
  redis.call('ZADD', list, at(now), id)
  redis.call('ZREMRANGEBYSCORE', list, '-inf', at(now - keep.ttl * 1000))
  redis.call('ZREMRANGEBYRANK', list, 0, -1 - keep.finished)
end

-- Tells all who wait for the end of a job, and lists it. `its`: what the job knows of itself. `keep`:
-- seconds for what is the job's own (`ttl`) and for blobs without a job (`blob_grace`), and how many
-- ended jobs (`finished`) and events (`events`) stay listed.
local function announce_end(id, its, to, reason, celery_result, keep)
  local ttl, tenant = keep.ttl, tenant_of(its.lane)
  count_for(its.lane, 'ended|' .. to .. '|{tenant}|{model}|' .. reason)
  redis.call('SET', K.celery_result .. id, celery_result, 'EX', ttl)
  redis.call('PUBLISH', K.celery_result .. id, celery_result)
  if its.idempotency then
    redis.call('EXPIRE', K.idempotency .. its.idempotency, ttl)
  end
  if its.blobs then
    release_blobs(tenant, its.blobs, keep.blob_grace)
  end
  if its.batch then
    count_in_batch(its.batch, to, ttl)
  else
    tell_webhook(tenant, event_of(to, reason), id, id .. ' ' .. at(now))
  end
  if its.canvas then
    enter_delivery(tenant, K.canvas_event, id, 'canvas ' .. id .. ' ' .. at(now))
  end
  if to == State.FAILED then
    list_finished(K.failed, id, keep) -- apart: many good ends must not push a bad one out
  end
  list_finished(K.finished, id, keep)
  -- Per tenant too, so that nobody looks through what is others'.
  list_finished(K.tenant_finished .. tenant, id, keep)
  redis.call('EXPIRE', K.tenant_finished .. tenant, ttl)
  redis.call('ZREM', K.tenant_jobs .. tenant, id)
  emit_event(id, to, reason, keep.events, its.online)
end

-- The one way into a terminal state, but for the short one of finish_plain.lua. From here on everything
-- that the job keeps expires.
local function finalize(id, job, from, to, reason, error_document, celery_result, keep)
  local its = read(job, 'lane', 'idempotency', 'batch', 'blobs', 'online', 'canvas')
  if from == State.QUEUED then
    leave_lane(its.lane)
    redis.call('ZREM', K.fallback_jobs .. model_of(its.lane), id)
  elseif from == State.HINTED then
    release_hint(its.lane)
  elseif from == State.IN_PROGRESS then
    release_slot(job)
  elseif from == State.PARKED then
    redis.call('ZREM', K.too_new, id)
  end
  if its.online then
    redis.call('ZREM', K.batch_jobs .. model_of(its.lane), id)
  end
  leave_waiters(id, job)
  clear_earmark(job)
  move(job, from, to, 'finished', at(now), 'reason', reason, 'ttl', keep.ttl)
  if error_document then
    redis.call('HSET', job, 'error', error_document)
  end
  -- A call that is still out keeps its lease as the moment to look for it in vain, and its job for
  -- as long as money is reserved for it.
  if redis.call('HEXISTS', job, 'sent') == 0 then
    end_single_flight(id, job)
    let_go(id, job)
  end
  announce_end(id, its, to, reason, celery_result, keep)
end
