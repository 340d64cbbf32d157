-- include: core/base, jobs/batch_lane, lanes/lanes

-- Has jobs of the batch lane asked online: those that are queued at once, others when they come back.
-- ARGV: now, a cheaper service tier that is good enough ('': none), then the ids
-- Returns how many went. One that a worker holds, or that is in a batch, stays: it is asked again later.

local function reroute(id)
  local job = K.job .. id
  local state, lane, online, sent = unpack(redis.call('HMGET', job, 'state', 'lane', 'online', 'sent'))
  if not online or TERMINAL[state] then
    leave_batch_lane(id, job)
    return 0
  elseif state == State.HINTED or sent and state ~= State.IN_PROGRESS then
    return 0
  end
  if state == State.QUEUED then
    leave_lane(lane)
  end
  go_online(id, job, online, ARGV[2])
  if state == State.QUEUED then
    enter_lane(id, job, online, 'RPUSH')
  end
  return 1
end

local went = 0
for i = 3, #ARGV do
  went = went + reroute(ARGV[i])
end
wake()
return went
