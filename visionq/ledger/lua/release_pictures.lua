-- include: jobs/ending, jobs/moves

-- Lets go of the pictures of jobs whose lines the provider has. Only their owner may ask for it, who has
-- them and enters the job again if its line comes back without an answer: it fails then with blob_missing.
-- ARGV: now, then the ids
-- Returns the ids of those that keep no pictures now.

local KEPT = 1 -- s: of no use to anybody, and the next ones need the room

local function is_out(state, line)
  return state == State.WAITING and line and redis.call('HGET', K.provider_batch .. line, 'state') == 'out'
end

local released = {}
for i = 2, #ARGV do
  local job = K.job .. ARGV[i]
  local state, line, lane, blobs, fallback = unpack(
    redis.call('HMGET', job, 'state', 'line', 'lane', 'blobs', 'fallback')
  )
  -- A fallback asks about the same pictures; entered again, the job would pay for the refusal again.
  if is_out(state, line) and not fallback then
    if blobs then
      redis.call('HDEL', job, 'blobs')
      release_blobs(tenant_of(lane), blobs, KEPT)
    end
    released[#released + 1] = ARGV[i]
  end
end
return released
