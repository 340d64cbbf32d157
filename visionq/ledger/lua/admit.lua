-- The last gate before a call: takes everything that the call needs, or nothing.
-- ARGV: now, id, token, content key ('' to look for no stored answer), nano-rubles to reserve
-- Returns {'GO'} | {'ANSWER', document} | {'REFUSED', state} | {'EXPIRED'}
-- A verdict function returns nil when it has nothing against the call.

local id, token, content_key, reserve = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local job = K.job .. id
local state, holder, sent, deadline = unpack(redis.call('HMGET', job, 'state', 'token', 'sent', 'deadline'))

local function fence()
  if state ~= 'in_progress' or holder ~= token then
    return { 'REFUSED', state or 'missing' }
  end
end

-- A paid answer that came late for this very job, else a stored one to the same question.
local function stored_answer()
  local answer = redis.call('HGET', job, 'late_answer')
  if not answer and content_key ~= '' then
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

local function mark_sent()
  if sent ~= token then -- a repeated admit is the same call
    redis.call('HSET', job, 'sent', token, 'reserved', reserve)
    redis.call('HINCRBY', K.money, 'reserved', reserve)
    redis.call('HINCRBY', job, 'calls', 1)
  end
  return { 'GO' }
end

return fence() or stored_answer() or deadline_passed() or mark_sent()
