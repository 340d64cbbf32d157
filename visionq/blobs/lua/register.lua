-- include: blob_books/garbage, core/base

-- Keeps blobs of a store outside Redis from being deleted while they are uploaded and their jobs
-- entered. Only what is registered can be submitted; what nobody submits goes after the grace.
-- ARGV: now, grace (s), then the hashes
-- Returns {'busy'} while one of them is being deleted | {'registered', {sha, …}}: those not known before

local grace = tonumber(ARGV[2])

for i = 3, #ARGV do
  local until_then = redis.call('ZSCORE', K.blob_deletions, ARGV[i])
  if until_then and tonumber(until_then) > now then
    return { 'busy' }
  end
end

local unknown = {}
for i = 3, #ARGV do
  local sha = ARGV[i]
  -- Its deleter died, and may have deleted it.
  local died = redis.call('ZREM', K.blob_deletions, sha) == 1
  local is_new = false
  if not is_needed(sha) then
    is_new = redis.call('ZADD', K.blob_garbage, at(now + grace * 1000), sha .. ' 0') == 1
  end
  if is_new or died then
    unknown[#unknown + 1] = sha
  end
end
return { 'registered', unknown }
