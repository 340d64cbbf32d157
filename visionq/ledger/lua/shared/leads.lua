-- Leads: of several jobs that ask the same at the same time, one calls and the others follow.

local MOST_WOKEN = 200 -- in one script

-- Wakes those who follow a key; dispatch goes on where one script must not.
local function wake_followers(key)
  local followers = redis.call('LPOP', K.followers .. key, MOST_WOKEN)
  for _, id in ipairs(followers or {}) do
    local job = K.job .. id
    local state, reason = unpack(redis.call('HMGET', job, 'state', 'reason'))
    if state == 'waiting' and reason == 'follows' then
      requeue(id, job, 'waiting')
    end
  end
  if redis.call('EXISTS', K.followers .. key) == 1 then
    redis.call('SADD', K.waking, key)
  else
    redis.call('SREM', K.waking, key)
  end
  wake()
end

local function end_lead(id, job)
  local key = redis.call('HGET', job, 'lead')
  if not key then
    return
  end
  redis.call('HDEL', job, 'lead')
  if redis.call('GET', K.lead .. key) == id then
    redis.call('DEL', K.lead .. key)
  end
  wake_followers(key)
end

-- The call of the job is not out any more, in whatever way it ended.
local function call_ended(id, job)
  local gate = redis.call('HGET', job, 'gate')
  if gate then
    redis.call('HINCRBY', gate, 'calls_out', -1)
    redis.call('HDEL', job, 'gate', 'epoch')
  end
  end_lead(id, job)
end
