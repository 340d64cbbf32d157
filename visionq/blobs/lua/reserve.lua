-- include: blob_books/garbage, blob_books/tenants, core/base

-- Finds room for blobs in Redis, and keeps them from going while they are uploaded and their jobs
-- entered. A reservation that nobody uses lapses after the grace.
-- ARGV: now, grace (s), most bytes ('' for a share of maxmemory), that share, share of maxmemory at which
--   nothing is taken, who brings them ('' for nobody), most bytes of a tenant ('' for three for each
--   that stays free), then for each blob: sha256, bytes
-- Returns {'full', bytes held, most} | {'tenant_full', bytes of the tenant, most} | {'memory'} | {'reserved', {sha, …}}: those that are not there

local grace, most, share, refuse_at = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local tenant, most_of_tenant = ARGV[6], tonumber(ARGV[7])

local FIRST = 8 -- of the blobs
local TIMES_FREE = 3

take_garbage(500)
discharge_tenants(500)

local info = redis.pcall('INFO', 'memory')
-- Where INFO is refused, as by some managed servers, only Redis itself refuses, at its limit.
info = type(info) == 'string' and info or ''
local memory = tonumber(string.match(info, 'maxmemory:(%d+)')) or 0
local used = tonumber(string.match(info, 'used_memory:(%d+)')) or 0
if most ~= '' then
  most = tonumber(most)
else
  most = memory > 0 and memory * share or math.huge
end

local absent, uncounted, uploaded, of_tenant = {}, 0, 0, 0
for i = FIRST, #ARGV, 2 do
  local sha, size = ARGV[i], tonumber(ARGV[i + 1])
  if redis.call('EXISTS', K.blob .. sha) == 0 then
    absent[#absent + 1] = sha
    uploaded = uploaded + size
  end
  if not is_needed(sha) and not redis.call('ZSCORE', K.blob_garbage, sha .. ' ' .. ARGV[i + 1]) then
    uncounted = uncounted + size
  end
  if tenant ~= '' and not is_charged(tenant, sha, ARGV[i + 1]) then
    of_tenant = of_tenant + size
  end
end

local held = tonumber(redis.call('GET', K.blob_bytes) or 0)
if uncounted > 0 and held + uncounted > most then
  return { 'full', at(held), at(most) }
end
if of_tenant > 0 then
  local own = tonumber(redis.call('HGET', K.tenant_blob_bytes, tenant) or 0)
  most_of_tenant = most_of_tenant or TIMES_FREE * (most - held)
  if own + of_tenant > most_of_tenant then
    return { 'tenant_full', at(own), at(most_of_tenant) }
  end
end
if uploaded > 0 and memory > 0 and used + uploaded > memory * refuse_at then
  return { 'memory' }
end

for i = FIRST, #ARGV, 2 do
  local sha, size = ARGV[i], ARGV[i + 1]
  if tenant ~= '' then
    tenant_brought(tenant, sha, size, now + grace * 1000)
  end
  if not is_needed(sha) then
    redis.call('ZADD', K.blob_garbage, at(now + grace * 1000), sha .. ' ' .. size)
    redis.call('EXPIRE', K.blob .. sha, grace)
  end
end
if uncounted > 0 then
  redis.call('INCRBY', K.blob_bytes, at(uncounted))
end
return { 'reserved', absent }
