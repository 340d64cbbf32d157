-- include: blob_books/tenants, core/base, jobs/ending, jobs/moves, lanes/lanes, metrics/labels

-- Enters jobs: each idempotent by its id and by its key, each with a reference on its blobs.
-- ARGV: now, share of maxmemory at which to refuse, blobs are here ('1' or '0'), most parked jobs and
--   most models in line of a tenant, ms within which what is needed is asked for online, then for each job:
--   id, lane, document, version, pictures, deadline, batch, idempotency, blobs, trace, asked, online, by,
--   canvas, fallback (models), fields that the operator's defaults filled in, together ('' for none;
--   `asked` is a digest of the document without the operator's defaults; `online` is the lane of one in
--   the batch lane, should it be asked at once, and `by` when its answer is needed)
-- Returns for each job: {'created'} | {'known', id} | {'conflict', id} | {'missing', sha, …} | {'full'}
--   | {'over', what there is too much of, the most}

local FIRST, FIELDS = 7, 17
local TOGETHER_KEPT = 86400 -- s in which a job is found by others that ask about the same pictures
local MOST_TOGETHER = 1000 -- that are listed: nobody takes those whose answers are stored
local blobs_are_here = ARGV[3] == '1'
local most_parked, most_lanes, least_wait = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function memory_is_short(share)
  local info = redis.pcall('INFO', 'memory')
  -- Where INFO is refused, as by some managed servers, only Redis itself refuses, at its limit.
  local limit = type(info) == 'string' and tonumber(string.match(info, 'maxmemory:(%d+)')) or 0
  return limit > 0 and tonumber(string.match(info, 'used_memory:(%d+)')) > limit * share
end

local function known_as(id, idempotency)
  if redis.call('EXISTS', K.job .. id) == 1 then
    return id
  end
  if idempotency ~= '' then
    local other = redis.call('GET', K.idempotency .. idempotency)
    if other and redis.call('EXISTS', K.job .. other) == 1 then
      return other
    end
  end
  return nil
end

-- Another store can't be looked at, but nothing is deleted there that is on the books.
local function is_missing(sha)
  if blobs_are_here then
    return redis.call('EXISTS', K.blob .. sha) == 0
  end
  return redis.call('HEXISTS', K.blob_references, sha) == 0
    and not redis.call('ZSCORE', K.blob_garbage, garbage_entry(sha))
end

local function missing_blobs(blobs)
  local missing = {}
  for sha in string.gmatch(blobs, '%S+') do
    if is_missing(sha) then
      missing[#missing + 1] = sha
    end
  end
  return missing
end

-- One who may not pay, or asks for ever new models, must not fill the ledger with what waits.
local function over_quota(lane)
  local tenant = tenant_of(lane)
  if tonumber(redis.call('HGET', K.tenant_parked, tenant) or 0) >= most_parked then
    return { 'over', State.PARKED, tostring(most_parked) }
  end
  if redis.call('HEXISTS', K.lane_sizes, lane) == 0
    and tonumber(redis.call('HGET', K.tenant_lanes, tenant) or 0) >= most_lanes then
    return { 'over', 'models', tostring(most_lanes) }
  end
end

local function take_blobs(tenant, blobs)
  for sha in string.gmatch(blobs, '%S+') do
    if blobs_are_here then
      tenant_needs(tenant, sha, redis.call('STRLEN', K.blob .. sha))
    end
    local entry = garbage_entry(sha)
    local is_first = redis.call('HINCRBY', K.blob_references, sha, 1) == 1
    -- A blob that was not put by reservation is counted from here on.
    if is_first and redis.call('ZREM', K.blob_garbage, entry) == 0 then
      redis.call('INCRBY', K.blob_bytes, redis.call('STRLEN', K.blob .. sha))
    end
    redis.call('PERSIST', K.blob .. sha)
  end
end

-- Defaults that the operator has changed since make no other request of the same one.
local function is_same(job, document, asked)
  local known = redis.call('HMGET', job, 'document', 'asked')
  return known[1] == document or (asked ~= '' and known[2] == asked)
end

local function enter(
  id, lane, document, version, pictures, deadline, batch, idempotency, blobs, trace, asked, online, by, canvas,
  fallback, defaulted, together
)
  local known = known_as(id, idempotency)
  if known then
    return { is_same(K.job .. known, document, asked) and 'known' or 'conflict', known }
  end
  if by ~= '' and tonumber(by) - now < least_wait then
    lane, online = online, ''
  end
  local over = over_quota(lane)
  if over then
    return over
  end
  local missing = missing_blobs(blobs)
  if #missing > 0 then
    return { 'missing', unpack(missing) }
  end
  local job = K.job .. id
  local fields = { 'state', State.QUEUED, 'lane', lane, 'document', document, 'pictures', pictures, 'submitted', at(now) }
  local optional = {
    version = version ~= '1' and version or '', deadline = deadline, batch = batch, idempotency = idempotency,
    blobs = blobs, trace = trace, asked = asked, online = online, canvas = canvas, fallback = fallback,
    defaulted = defaulted,
  }
  for name, value in pairs(optional) do
    if value ~= '' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  redis.call('HSET', job, unpack(fields))
  if together ~= '' then
    redis.call('RPUSH', K.together .. together, id)
    redis.call('LTRIM', K.together .. together, -MOST_TOGETHER, -1)
    redis.call('EXPIRE', K.together .. together, TOGETHER_KEPT)
  end
  if batch ~= '' then
    redis.call('HINCRBY', K.batch .. batch, 'total', 1)
    redis.call('PERSIST', K.batch .. batch)
    redis.call('PERSIST', K.book .. 'batch:' .. batch)
  end
  if idempotency ~= '' then
    redis.call('SET', K.idempotency .. idempotency, id)
  end
  take_blobs(tenant_of(lane), blobs)
  if online ~= '' and by ~= '' then -- one without may wait for as long as batches take
    redis.call('ZADD', K.batch_jobs .. model_of(lane), by, id)
    redis.call('SADD', K.batch_models, model_of(lane))
  end
  redis.call('HINCRBY', K.counts, State.QUEUED, 1)
  redis.call('ZADD', K.tenant_jobs .. tenant_of(lane), at(now), id)
  enter_lane(id, job, lane, 'RPUSH')
  return { 'created' }
end

local replies, entered = {}, {} -- lane → jobs
local full = memory_is_short(tonumber(ARGV[2]))
for first = FIRST, #ARGV, FIELDS do
  local reply = full and { 'full' } or enter(unpack(ARGV, first, first + FIELDS - 1))
  local lane = ARGV[first + 1]
  if reply[1] == 'created' then
    entered[lane] = (entered[lane] or 0) + 1
  end
  replies[#replies + 1] = reply
end
for lane, jobs in pairs(entered) do
  count_for(lane, 'submitted|{tenant}|{model}', jobs)
end
if next(entered) then
  wake()
end
return replies
