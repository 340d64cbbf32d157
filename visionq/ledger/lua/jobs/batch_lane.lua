-- include: jobs/moves, jobs/slots

-- The batch lane: jobs that are answered through the provider's batches. They are queued in lanes of
-- their own, one for each API, which no dispatcher serves: the packer takes them. `online` is the lane in
-- which such a job would be asked at once, `line` the batch that its line is in, and the call is `sent`
-- from the moment in which it is given its place there.

local function is_batch_lane(lane)
  return lane and string.sub(lane, 1, #K.queue_batch) == K.queue_batch
end

-- It is no longer the packer's.
local function leave_batch_lane(id, job)
  local lane, online = unpack(redis.call('HMGET', job, 'lane', 'online'))
  if online then
    redis.call('HDEL', job, 'online')
    redis.call('ZREM', K.batch_jobs .. model_of(lane), id)
  end
  return online
end

-- It is asked online from now on, at a cheaper tier if that is good enough.
local function go_online(id, job, online, tier)
  leave_batch_lane(id, job)
  redis.call('HSET', job, 'lane', online)
  if tier ~= '' then
    redis.call('HSET', job, 'tier', tier)
  end
end

-- Back to where it waits for its batch: who held it has died before it wrote what came of the line.
local function return_line(id, job, batch)
  release_slot(job)
  move(job, State.IN_PROGRESS, State.WAITING, 'reason', DelayReason.BATCH, 'line', batch)
  redis.call('ZREM', K.due, id)
end
