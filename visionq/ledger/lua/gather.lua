-- include: core/base, jobs/moves, lanes/holds, lanes/lanes

-- Takes jobs that one call may answer together with the leader, as if a hint had named them: the
-- worker claims each. From here on another job may lead those that come later.
-- ARGV: now, key of what they have in common, id of the leader, most jobs, ms until what was not
--   claimed goes back
-- Returns the ids

local key, leader, most, patience = K.together .. ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])

local LISTED = 86400 -- s, as in submit.lua

local function hint(id, job, lane, from)
  move(job, from, State.HINTED, 'taken', at(now), 'hints', 1)
  redis.call('HDEL', job, 'reason')
  redis.call('HINCRBY', K.hinted, split_lane(lane), 1)
  redis.call('HINCRBY', K.rate_limit .. model_of(lane), 'at_hand', 1)
  count_of_tenant(K.tenant_unsent, lane, 1)
  redis.call('ZADD', K.due, at(now + patience), id)
end

-- Returns whether the job is taken; nil: it may be found later, for it is about to wait.
local function take(id)
  local job = K.job .. id
  local its = read(job, 'state', 'reason', 'lane', 'deadline', 'sent')
  if not its.state then
    return false -- it ended, and was forgotten
  elseif its.state == State.HINTED then
    return true -- its hint comes too late
  elseif its.state == State.IN_PROGRESS and id ~= leader and not its.sent then
    return nil
  elseif its.deadline and tonumber(its.deadline) <= now or held_by(its.lane) then
    return false
  elseif its.state == State.QUEUED then
    leave_lane(its.lane)
  elseif its.state ~= State.WAITING or its.reason ~= DelayReason.FOLLOWS then
    return false
  end
  hint(id, job, its.lane, its.state)
  return true
end

local found, seen = {}, { [leader] = true }
if redis.call('GET', K.together_leader .. ARGV[2]) == leader then
  redis.call('DEL', K.together_leader .. ARGV[2])
end
for _, id in ipairs(redis.call('LPOP', key, 10 * most) or {}) do
  local is_taken = nil
  if not seen[id] and #found < most then
    seen[id] = true
    is_taken = take(id)
    found[#found + 1] = is_taken and id or nil
  end
  if is_taken == nil and id ~= leader then
    redis.call('RPUSH', key, id)
  end
end
redis.call('EXPIRE', key, LISTED) -- a list that was emptied has lost its own
return found
