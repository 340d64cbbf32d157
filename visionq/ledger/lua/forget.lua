-- include: blob_books/tenants, core/base, jobs/ending, jobs/moves, money/calls

-- Removes what is kept of ended jobs whose ends their owner has written down elsewhere. A job whose
-- money is still open stays until it expires: an answer that comes late has to find it.
-- ARGV: now, then the ids
-- Returns how many of them are gone

local PICTURES_KEPT = 60 -- s: nobody looks at them again, and the next ones need the room

-- What no unfinished job needs goes sooner than others' pictures do.
local function hurry_blobs(tenant, blobs)
  for sha in string.gmatch(blobs, '%S+') do
    local entry = entry_of_tenant(tenant, sha, redis.call('STRLEN', K.blob .. sha))
    redis.call('ZADD', K.tenant_blob_garbage, 'XX', 'LT', at(now + PICTURES_KEPT * 1000), entry)
    if redis.call('ZSCORE', K.blob_garbage, garbage_entry(sha)) then
      redis.call('EXPIRE', K.blob .. sha, PICTURES_KEPT)
      redis.call('ZADD', K.blob_garbage, 'LT', at(now + PICTURES_KEPT * 1000), garbage_entry(sha))
    end
  end
end

-- A worker that repeats the end of one of its calls finds no job, and must not book it twice.
local function close_calls(job)
  local fields = redis.call('HGETALL', job)
  for i = 1, #fields, 2 do
    local name = fields[i]
    local token = string.match(name, '^settled:(.+)$') or string.match(name, '^said:(.+)$')
    token = token or name == 'ended_by' and fields[i + 1]
    if token then
      close_call(token)
    end
  end
end

local gone = 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local job = K.job .. id
  local state, sent, unknown_calls, idempotency, blobs, lane = unpack(
    redis.call('HMGET', job, 'state', 'sent', 'unknown_calls', 'idempotency', 'blobs', 'lane')
  )
  if TERMINAL[state] and not sent and (unknown_calls or '0') == '0' then
    redis.call('ZREM', K.finished, id)
    redis.call('ZREM', K.failed, id)
    close_calls(job)
    redis.call('DEL', job, K.celery_result .. id)
    if idempotency and redis.call('GET', K.idempotency .. idempotency) == id then
      redis.call('DEL', K.idempotency .. idempotency)
    end
    redis.call('ZREM', K.tenant_finished .. tenant_of(lane), id)
    hurry_blobs(tenant_of(lane), blobs or '')
    gone = gone + 1
  end
end
return gone
