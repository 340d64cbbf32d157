-- include: core/base, jobs/batch_lane, lanes/lanes

-- Has the next jobs of lanes of the batch lane asked online.
-- ARGV: now, a cheaper service tier that is good enough ('': none), most jobs, then the lanes
-- Returns the ids of those that went, and how many entries it looked at.

local tier, most, looks, went = ARGV[2], tonumber(ARGV[3]), 0, {}

-- Entries of jobs that ended there, or went into another lane, are dropped.
local function send(lane)
  local id = redis.call('LPOP', K.lane .. lane)
  if not id then
    return false
  end
  looks = looks + 1
  local job = K.job .. id
  local state, its_lane, online = unpack(redis.call('HMGET', job, 'state', 'lane', 'online'))
  if state == State.QUEUED and its_lane == lane and online then
    leave_lane(lane)
    go_online(id, job, online, tier)
    enter_lane(id, job, online, 'RPUSH')
    went[#went + 1] = id
  end
  return true
end

for i = 4, #ARGV do
  while #went < most and looks < 10 * most and send(ARGV[i]) do
  end
end
wake()
return { went, looks }
