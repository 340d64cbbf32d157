-- include: core/base, gates/gates, jobs/moves, lanes/holds, lanes/lanes

-- Gives the packer jobs of the batch lane, tenants in turn, as if a hint had named them: it claims each.
-- ARGV: now, pool, queue, model, most jobs, ms until what was not claimed goes back
-- Returns the ids; none while the gate of the pool's key lets no more calls through.

local pool, queue, model, most, patience = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local tenants = K.tenant_ring .. queue

local function take(lane)
  local id = redis.call('LPOP', K.lane .. lane)
  local job = K.job .. id
  local state, its_lane = unpack(redis.call('HMGET', job, 'state', 'lane'))
  if state ~= State.QUEUED or its_lane ~= lane then
    return -- it ended in the lane, or went into another
  end
  leave_lane(lane)
  move(job, State.QUEUED, State.HINTED)
  redis.call('HINCRBY', K.hinted, queue, 1)
  redis.call('ZADD', K.due, at(now + patience), id)
  return id
end

local found, passed_over, looks = {}, 0, 0
if calls_left(read_gate(gate_of(pool))) <= 0 then
  return found
end
while #found < most and looks < 10 * most do
  looks = looks + 1
  local tenant = redis.call('LMOVE', tenants, tenants, 'LEFT', 'RIGHT')
  if not tenant or passed_over > redis.call('LLEN', tenants) then
    return found
  end
  local lane = queue .. ':' .. tenant .. ':' .. model
  if redis.call('HEXISTS', K.lane_sizes, lane) == 1 and not held_by(lane) then
    found[#found + 1], passed_over = take(lane), 0
  else
    passed_over = passed_over + 1
  end
end
return found
