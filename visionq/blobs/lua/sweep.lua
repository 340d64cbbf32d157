-- include: blob_books/garbage, blob_books/tenants, core/base

-- Takes blobs whose time is up out of the books. Those outside Redis are marked until the caller has
-- deleted them and says so, or for as long as one deletion can take.
-- ARGV: now, most entries to take, time for the deletions (ms)
-- Returns entries taken, and {sha, …} to delete outside Redis

local limit, patience = tonumber(ARGV[2]), tonumber(ARGV[3])

local to_delete, taken = take_garbage(limit)
discharge_tenants(limit)
local left = redis.call('ZRANGEBYSCORE', K.blob_deletions, '-inf', at(now), 'LIMIT', 0, limit)
for _, sha in ipairs(left) do
  if is_needed(sha) or redis.call('ZSCORE', K.blob_garbage, sha .. ' 0') then
    redis.call('ZREM', K.blob_deletions, sha)
  else
    to_delete[#to_delete + 1] = sha
  end
end
for _, sha in ipairs(to_delete) do
  redis.call('ZADD', K.blob_deletions, at(now + patience), sha)
end
return { taken + #left, to_delete }
