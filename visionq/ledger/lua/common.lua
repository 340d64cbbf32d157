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

-- Makes one dispatcher look now instead of at its next tick. One element is enough.
local function wake()
  if redis.call('LLEN', K.wake) == 0 then
    redis.call('LPUSH', K.wake, '1')
  end
end

local function move(job, from, to)
  redis.call('HINCRBY', K.counts, from, -1)
  redis.call('HINCRBY', K.counts, to, 1)
  redis.call('HSET', job, 'state', to)
end

-- `kept` is about how many events stay.
local function tell(id, state, reason, kept)
  redis.call('XADD', K.events, 'MAXLEN', '~', kept, '*', 'id', id, 'state', state, 'reason', reason)
end

-- Lanes -------------------------------------------------------------------------------------------

local function split_lane(lane)
  return string.match(lane, '^([^:]+):([^:]+):(.+)$')
end

-- A lane stands in its tenant's ring, and the tenant in its queue's, while jobs are queued in it.
local function enter_lane(id, job, lane, push)
  redis.call(push, K.lane .. lane, id)
  local deadline = redis.call('HGET', job, 'deadline')
  if deadline then
    redis.call('ZADD', K.due, deadline, id)
  else
    redis.call('ZREM', K.due, id)
  end
  if redis.call('HINCRBY', K.lane_sizes, lane, 1) == 1 then
    local queue, tenant = split_lane(lane)
    if redis.call('RPUSH', K.lane_ring .. queue .. ':' .. tenant, lane) == 1 then
      redis.call('RPUSH', K.tenant_ring .. queue, tenant)
    end
  end
end

-- Counts one job out of its lane. What is left in an empty lane's list are jobs that ended there.
local function leave_lane(lane)
  if redis.call('HINCRBY', K.lane_sizes, lane, -1) > 0 then
    return
  end
  local queue, tenant = split_lane(lane)
  local ring = K.lane_ring .. queue .. ':' .. tenant
  redis.call('HDEL', K.lane_sizes, lane)
  redis.call('UNLINK', K.lane .. lane)
  redis.call('LREM', ring, 0, lane)
  if redis.call('EXISTS', ring) == 0 then
    redis.call('LREM', K.tenant_ring .. queue, 0, tenant)
  end
end

-- Back to the head of its lane, from whichever state it was in.
local function requeue(id, job, from)
  move(job, from, 'queued')
  redis.call('HDEL', job, 'reason', 'due')
  enter_lane(id, job, redis.call('HGET', job, 'lane'), 'LPUSH')
end

-- Slots and hints ---------------------------------------------------------------------------------

local function release_slot(job)
  local pool = redis.call('HGET', job, 'pool')
  redis.call('HINCRBY', K.pool_busy, pool, -1)
  redis.call('HDEL', job, 'pool', 'worker')
end

local function release_hint(lane)
  local queue = split_lane(lane)
  redis.call('HINCRBY', K.hinted, queue, -1)
end

-- Money: integer nano-rubles, kept as text, added by Redis ------------------------------------------

local function negative(amount)
  return amount == '0' and '0' or '-' .. amount
end

-- A call was sent and its end is not known: what was reserved for it may have been spent.
-- Returns the token of the call, or false if none was out.
local function sent_becomes_unknown(job)
  local token, reserved = unpack(redis.call('HMGET', job, 'sent', 'reserved'))
  if not token then
    return false
  end
  redis.call('HDEL', job, 'sent', 'reserved')
  redis.call('HINCRBY', K.money, 'reserved', negative(reserved))
  redis.call('HINCRBY', K.money, 'unknown', reserved)
  redis.call('HINCRBY', K.money, 'unknown_calls', 1)
  redis.call('HINCRBY', job, 'unknown_calls', 1)
  redis.call('HSET', job, 'unknown:' .. token, reserved)
  return token
end

-- The end ------------------------------------------------------------------------------------------

-- What stands of a blob that no unfinished job needs: its size can't be asked for once it is gone.
-- A blob outside Redis has none here.
local function garbage_entry(sha)
  return sha .. ' ' .. redis.call('STRLEN', K.blob .. sha)
end

local function release_blobs(blobs, grace)
  for sha in string.gmatch(blobs, '%S+') do
    if redis.call('HINCRBY', K.blob_references, sha, -1) <= 0 then
      redis.call('HDEL', K.blob_references, sha)
      redis.call('EXPIRE', K.blob .. sha, grace)
      redis.call('ZADD', K.blob_garbage, at(now + grace * 1000), garbage_entry(sha))
    end
  end
end

-- Nothing is to be expected any more of a job that ended: what it keeps expires.
local function let_go(id, job)
  redis.call('ZREM', K.due, id)
  local ttl = redis.call('HGET', job, 'ttl')
  if ttl then
    redis.call('EXPIRE', job, ttl)
  end
end

-- A batch is kept from the end of its last job.
local function count_in_batch(batch, to, ttl)
  redis.call('HINCRBY', batch, to, 1)
  local total, completed, failed, cancelled = unpack(
    redis.call('HMGET', batch, 'total', 'completed', 'failed', 'cancelled')
  )
  if (completed or 0) + (failed or 0) + (cancelled or 0) >= tonumber(total or 0) then
    redis.call('EXPIRE', batch, ttl)
  end
end

-- The one way into a terminal state. From here on everything that the job keeps expires.
-- `keep`: seconds for what is the job's own (`ttl`) and for blobs without a job (`blob_grace`), and
-- how many ended jobs (`finished`) and events (`events`) stay listed.
local function conclude(id, job, from, to, reason, error_document, celery_result, keep)
  local ttl = keep.ttl
  local lane, idempotency, batch, blobs = unpack(redis.call('HMGET', job, 'lane', 'idempotency', 'batch', 'blobs'))
  if from == 'queued' then
    leave_lane(lane)
  elseif from == 'hinted' then
    release_hint(lane)
  elseif from == 'in_progress' then
    release_slot(job)
  elseif from == 'parked' then
    redis.call('ZREM', K.parked, id)
  end
  move(job, from, to)
  redis.call('HSET', job, 'finished', at(now), 'reason', reason, 'ttl', ttl)
  if error_document ~= '' then
    redis.call('HSET', job, 'error', error_document)
  end
  redis.call('SET', K.celery_result .. id, celery_result, 'EX', ttl)
  redis.call('PUBLISH', K.celery_result .. id, celery_result)
  -- A call that is still out keeps its lease as the moment to look for it in vain, and its job for
  -- as long as money is reserved for it.
  if redis.call('HEXISTS', job, 'sent') == 0 then
    let_go(id, job)
  end
  if idempotency then
    redis.call('EXPIRE', K.idempotency .. idempotency, ttl)
  end
  if blobs then
    release_blobs(blobs, keep.blob_grace)
  end
  if batch then
    count_in_batch(K.batch .. batch, to, ttl)
  end
  redis.call('ZADD', K.finished, at(now), id)
  redis.call('ZREMRANGEBYSCORE', K.finished, '-inf', at(now - ttl * 1000))
  redis.call('ZREMRANGEBYRANK', K.finished, 0, -1 - keep.finished)
  tell(id, to, reason, keep.events)
end
