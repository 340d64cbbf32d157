-- include: core/base

-- Blobs that no unfinished job needs. Their callers leave the time to Redis, by whose clock keys expire.

local function is_needed(sha)
  return redis.call('HEXISTS', K.blob_references, sha) == 1
end

-- Takes expired entries out of the garbage, at most `limit` of them. What was in
-- Redis is gone with that, and no longer counted; the hashes of the others are returned.
local function take_garbage(limit)
  local elsewhere, freed = {}, 0
  local entries = redis.call('ZRANGEBYSCORE', K.blob_garbage, '-inf', at(now), 'LIMIT', 0, limit)
  for _, entry in ipairs(entries) do
    local sha, size = string.match(entry, '^(%S+) (%d+)$')
    redis.call('ZREM', K.blob_garbage, entry)
    freed = freed + tonumber(size)
    if not is_needed(sha) then
      redis.call('UNLINK', K.blob .. sha)
      if size == '0' then
        elsewhere[#elsewhere + 1] = sha
      end
    end
  end
  if freed > 0 then
    redis.call('DECRBY', K.blob_bytes, at(freed))
  end
  -- With no blob left, forget any miscount, as after someone deleted keys.
  if #entries > 0 and redis.call('EXISTS', K.blob_garbage, K.blob_references) == 0 then
    redis.call('DEL', K.blob_bytes)
  end
  return elsewhere, #entries
end
