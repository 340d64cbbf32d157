-- include: core/base, gates/gates, lanes/lanes, money/waiters, rate_limit/limits

-- Leads: of several jobs that ask the same at the same time, one calls and the others follow.

local MOST_WOKEN = 100 -- in one script

-- The job whose call for this key is out, or whose answer is being repaired, or nil.
local function leader_of(key)
  local id = redis.call('GET', K.leader .. key)
  return id and redis.call('HGET', K.job .. id, 'lead') == key and id or nil
end

-- The first of them goes first again. Returns how many were woken.
local function wake_followers(key, most)
  local followers = redis.call('LPOP', K.followers .. key, most) or {}
  for i = #followers, 1, -1 do
    local job = K.job .. followers[i]
    local state, reason, blocked_by = unpack(redis.call('HMGET', job, 'state', 'reason', 'blocked_by'))
    local is_blocked = state == State.PARKED and blocked_by == key
    if is_blocked or state == State.WAITING and reason == DelayReason.FOLLOWS then
      redis.call('HDEL', job, 'blocked_by')
      waive_budget(job)
      requeue(followers[i], job, state)
    end
  end
  return #followers
end

-- Wakes those whose leads ended, some in each look of the dispatcher. Where one of them leads by
-- now, the others wait for it: woken, they could but follow again.
local function wake_some()
  local left = MOST_WOKEN
  for _, key in ipairs(redis.call('ZRANGE', K.waking, 0, MOST_WOKEN - 1)) do
    if left <= 0 then
      break
    end
    local has_lead = leader_of(key)
    left = left - (has_lead and 1 or wake_followers(key, left))
    if has_lead or redis.call('EXISTS', K.followers .. key) == 0 then
      redis.call('ZREM', K.waking, key)
    end
  end
  if redis.call('EXISTS', K.waking) == 1 then
    wake()
  end
end

local function end_single_flight(id, job)
  local key = redis.call('HGET', job, 'lead')
  if not key then
    return
  end
  redis.call('HDEL', job, 'lead')
  if redis.call('GET', K.leader .. key) == id then
    redis.call('DEL', K.leader .. key)
  end
  if redis.call('EXISTS', K.followers .. key) == 1 then
    redis.call('ZADD', K.waking, 'NX', at(now), key)
    wake()
  end
end

-- The call of the job is not out any more, however it ended.
local function call_ended(id, job, stays_lead)
  local gate, epoch = unpack(redis.call('HMGET', job, 'gate', 'epoch'))
  if gate then
    call_left_gate(gate, epoch)
    call_left_rate_limit(job)
    redis.call('HDEL', job, 'gate', 'epoch')
  end
  if not stays_lead then
    end_single_flight(id, job)
  end
end
