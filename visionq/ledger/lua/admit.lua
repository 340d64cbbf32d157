-- The last gate before a call: takes everything that the call needs, or nothing.
-- ARGV: now, id, token, content key ('' where the answer is of no use to others), what an earlier
--   answer is good for (use | refresh | off), nano-rubles to reserve, Celery result of one who waits
-- Returns {'GO'} | {'ANSWER', document} | {'FOLLOW'} | {'PARK', reason} | {'REFUSED', state}
--   | {'EXPIRED'}. After FOLLOW and PARK the job is out of the worker's hands already.
-- A verdict function returns nil when it has nothing against the call.

local id, token, content_key, reuse = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local reserve, waits_result = ARGV[6], ARGV[7]
local job = K.job .. id
local state, holder, sent, deadline, pool, lane = unpack(
  redis.call('HMGET', job, 'state', 'token', 'sent', 'deadline', 'pool', 'lane')
)

local function fence()
  if state ~= 'in_progress' or holder ~= token then
    return { 'REFUSED', state or 'missing' }
  end
end

-- A paid answer that came late for this very job, else a stored one to the same question.
local function stored_answer()
  local answer = redis.call('HGET', job, 'late_answer')
  if not answer and reuse == 'use' and content_key ~= '' then
    answer = redis.call('GET', K.answer .. content_key)
  end
  if answer then
    return { 'ANSWER', answer }
  end
end

local function deadline_passed()
  if deadline and tonumber(deadline) <= now then
    return { 'EXPIRED' }
  end
end

-- A repeated admit is the same call.
local function sent_already()
  if sent == token then
    return { 'GO' }
  end
end

-- Somebody is asking just this: wait for that answer instead of paying for another.
local function lead()
  if reuse ~= 'use' or content_key == '' then
    return
  end
  if (lead_of(content_key) or id) == id then
    return
  end
  release_slot(job)
  move(job, 'in_progress', 'waiting')
  redis.call('HSET', job, 'reason', 'follows')
  redis.call('RPUSH', K.followers .. content_key, id)
  if deadline then
    redis.call('ZADD', K.due, deadline, id)
  else
    redis.call('ZREM', K.due, id)
  end
  redis.call('SET', K.celery_result .. id, waits_result)
  tell(id, 'waiting', 'follows')
  wake()
  return { 'FOLLOW' }
end

local function gate()
  local standing = read_gate(gate_of(pool))
  local scope = held_by(lane)
  if calls_left(standing) > 0 and not scope then
    return
  end
  release_slot(job)
  requeue(id, job, 'in_progress')
  return { 'PARK', scope and redis.call('HGET', K.holds, scope) or standing.reason }
end

local function mark_sent()
  local key = gate_of(pool)
  local epoch = redis.call('HGET', key, 'epoch') or '0'
  redis.call('HSET', job, 'sent', token, 'reserved', reserve, 'gate', key, 'epoch', epoch)
  redis.call('HINCRBY', key, 'calls_out', 1)
  redis.call('HINCRBY', K.money, 'reserved', reserve)
  redis.call('HINCRBY', job, 'calls', 1)
  if content_key ~= '' and not lead_of(content_key) then
    redis.call('HSET', job, 'lead', content_key)
    redis.call('SET', K.lead .. content_key, id)
  end
  return { 'GO' }
end

return fence() or sent_already() or stored_answer() or deadline_passed() or lead() or gate()
  or mark_sent()
