-- include: core/base

-- Bytes of pictures by tenant: of those that its unfinished jobs need, and of those that stay for a
-- while. A picture counts once for each tenant that has brought it. For the scripts of blobs and ledger.

local function entry_of_tenant(tenant, sha, size)
  return tenant .. ' ' .. sha .. ' ' .. size
end

local function charge_tenant(tenant, size)
  if redis.call('HINCRBY', K.tenant_blob_bytes, tenant, at(size)) <= 0 then
    redis.call('HDEL', K.tenant_blob_bytes, tenant)
  end
end

local function is_charged(tenant, sha, size)
  return redis.call('HEXISTS', K.tenant_blobs .. tenant, sha) == 1
    or redis.call('ZSCORE', K.tenant_blob_garbage, entry_of_tenant(tenant, sha, size))
end

-- The tenant uploaded it; it stays until a job needs it or the time is up.
local function tenant_brought(tenant, sha, size, moment)
  if redis.call('HEXISTS', K.tenant_blobs .. tenant, sha) == 0
    and redis.call('ZADD', K.tenant_blob_garbage, at(moment), entry_of_tenant(tenant, sha, size)) == 1 then
    charge_tenant(tenant, size)
  end
end

local function tenant_needs(tenant, sha, size)
  if redis.call('HINCRBY', K.tenant_blobs .. tenant, sha, 1) == 1
    and redis.call('ZREM', K.tenant_blob_garbage, entry_of_tenant(tenant, sha, size)) == 0 then
    charge_tenant(tenant, size)
  end
end

-- What was never counted, as by an earlier release, is not counted now.
local function tenant_lets_go(tenant, sha, size, moment)
  local left = redis.call('HINCRBY', K.tenant_blobs .. tenant, sha, -1)
  if left <= 0 then
    redis.call('HDEL', K.tenant_blobs .. tenant, sha)
  end
  if left == 0 then
    redis.call('ZADD', K.tenant_blob_garbage, at(moment), entry_of_tenant(tenant, sha, size))
  end
end

-- Takes what is not there any more off its tenants, at most `limit` pictures.
local function discharge_tenants(limit)
  local entries = redis.call('ZRANGEBYSCORE', K.tenant_blob_garbage, '-inf', at(now), 'LIMIT', 0, limit)
  for _, entry in ipairs(entries) do
    local tenant, size = string.match(entry, '^(%S+) %S+ (%d+)$')
    redis.call('ZREM', K.tenant_blob_garbage, entry)
    charge_tenant(tenant, -tonumber(size))
  end
end
