-- Finds room for blobs in Redis, and keeps them from going while they are uploaded and their jobs
-- entered. A reservation that nobody uses lapses after the grace.
-- ARGV: grace (s), most bytes ('' for a share of maxmemory), that share, share of maxmemory at which
--   nothing is taken, then for each blob: sha256, bytes
-- Returns {'full', bytes held, most} | {'memory'} | {'reserved', {sha, …}}: those that are not there

local grace, most, share, refuse_at = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

take_garbage(500)

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

local absent, uncounted, uploaded = {}, 0, 0
for i = 5, #ARGV, 2 do
  local sha, size = ARGV[i], tonumber(ARGV[i + 1])
  if redis.call('EXISTS', K.blob .. sha) == 0 then
    absent[#absent + 1] = sha
    uploaded = uploaded + size
  end
  if not is_needed(sha) and not redis.call('ZSCORE', K.blob_garbage, sha .. ' ' .. ARGV[i + 1]) then
    uncounted = uncounted + size
  end
end

local held = tonumber(redis.call('GET', K.blob_bytes) or 0)
if uncounted > 0 and held + uncounted > most then
  return { 'full', at(held), at(most) }
end
if uploaded > 0 and memory > 0 and used + uploaded > memory * refuse_at then
  return { 'memory' }
end

for i = 5, #ARGV, 2 do
  local sha, size = ARGV[i], ARGV[i + 1]
  if not is_needed(sha) then
    redis.call('ZADD', K.blob_garbage, at(now + grace * 1000), sha .. ' ' .. size)
    redis.call('EXPIRE', K.blob .. sha, grace)
  end
end
if uncounted > 0 then
  redis.call('INCRBY', K.blob_bytes, at(uncounted))
end
return { 'reserved', absent }
