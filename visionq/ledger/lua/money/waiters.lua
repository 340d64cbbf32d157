-- include: core/base, core/events, jobs/moves, lanes/lanes, metrics/counters, money/books

-- Waiters: jobs for whose call a budget has no room. One that would fit if the calls that are out
-- came back unpaid is waiting, another is parked; both come back when there is room for what they
-- need, the cheapest first. What one that goes on needs is promised to it until it asks again.

local MOST_AT_ONCE = 100 -- waiters moved in one look of the dispatcher
local ENOUGH_SAMPLES = 16 -- jobs of a kind after which it is known what the cheapest of them needs
local FORGETTING = 8 -- how slowly a kind forgets that it was cheaper once
local SAMPLES_KEPT = 7 * 86400 -- s
local WAITING_REASONS = { [State.WAITING] = DelayReason.BUDGET, [State.PARKED] = DelayReason.BUDGET_EXHAUSTED }

local function waiters_of(scope, state)
  return K.budget_waiters .. state .. ':' .. scope
end

local function earmark(job, scope, amount)
  redis.call('HSET', job, 'promise', amount .. ' ' .. scope)
  increase(K.book .. scope, 'promised', amount)
end

local function clear_earmark(job)
  local earmarked = redis.call('HGET', job, 'promise')
  if earmarked then
    local amount, scope = string.match(earmarked, '^(%d+) (.+)$')
    redis.call('HDEL', job, 'promise')
    increase(K.book .. scope, 'promised', negative(amount))
    look_again(scope)
  end
end

-- `state` is waiting or parked; `needed` is what its call may cost.
local function wait_for_budget(id, job, from, scope, needed, state)
  local reason = WAITING_REASONS[state]
  move(job, from, state, 'reason', reason, 'waits_for', scope)
  redis.call('ZADD', waiters_of(scope, state), needed, id)
  redis.call('HINCRBY', K.budget_waiter_counts, scope, 1)
  set_due(id, redis.call('HGET', job, 'deadline'))
  emit_event(id, state, reason)
end

-- Returns whether the job waited for a budget.
local function leave_waiters(id, job)
  local scope, state = unpack(redis.call('HMGET', job, 'waits_for', 'state'))
  if not scope then
    return false
  end
  redis.call('HDEL', job, 'waits_for')
  redis.call('ZREM', waiters_of(scope, state), id)
  if redis.call('HINCRBY', K.budget_waiter_counts, scope, -1) == 0 then
    redis.call('HDEL', K.budget_waiter_counts, scope)
  end
  return true
end

-- Jobs of a kind need about the same: those of a batch, else those of a lane.
local function kind_of(lane, batch)
  return K.reserves .. (batch and 'batch:' .. batch or lane)
end

local function take_sample(kind, needed, fits)
  local least = tonumber(redis.call('HGET', kind, 'least') or needed)
  if needed < least then
    least = needed
  elseif not fits then
    least = least + math.ceil((needed - least) / FORGETTING)
  end
  redis.call('HSET', kind, 'least', at(least))
  redis.call('HINCRBY', kind, 'samples', 1)
  redis.call('EXPIRE', kind, SAMPLES_KEPT)
end

-- Those that wait in vain, because what was spent since leaves too little, are parked.
local function give_up(scope, headroom, day, most)
  local waiting, parked = waiters_of(scope, State.WAITING), waiters_of(scope, State.PARKED)
  local hopeless = redis.call(
    'ZRANGEBYSCORE', waiting, '(' .. at(headroom), '+inf', 'WITHSCORES', 'LIMIT', 0, most
  )
  for i = 1, #hopeless, 2 do
    local id, needed = hopeless[i], hopeless[i + 1]
    redis.call('ZREM', waiting, id)
    redis.call('ZADD', parked, needed, id)
    move(K.job .. id, State.WAITING, State.PARKED, 'reason', WAITING_REASONS[State.PARKED])
    emit_event(id, State.PARKED, WAITING_REASONS[State.PARKED])
    tell_exhausted(scope, day, tonumber(needed))
  end
  return #hopeless / 2
end

local function admit_waiters(scope, state, room, most)
  local woken = 0
  local fitting = redis.call(
    'ZRANGEBYSCORE', waiters_of(scope, state), '-inf', at(room), 'WITHSCORES', 'LIMIT', 0, most
  )
  for i = 1, #fitting, 2 do
    local id, needed = fitting[i], tonumber(fitting[i + 1])
    if needed > room then
      break
    end
    local job = K.job .. id
    room = room - needed
    woken = woken + 1
    leave_waiters(id, job)
    earmark(job, scope, at(needed))
    requeue(id, job, state)
  end
  return woken, room
end

-- What is neither used nor promised to a job that was let go on.
local function free_in(scope, day)
  local room, headroom = left_in(scope, day)
  return room - tonumber(redis.call('HGET', K.book .. scope, 'promised') or 0), headroom
end

-- The dispatcher does not keep the job back: an answer may be there for it that costs nothing.
local function waive_budget(job)
  local scopes = scopes_of(job)
  earmark(job, scopes[#scopes], '0')
end

-- The scope that has no room for even the cheapest of the job's kind, what that one needs, and
-- whether the job waits or is parked. Only for scopes where others wait: the first of a
-- kind are looked at by a worker.
local function lacks_budget(job, lane, batch, day)
  if redis.call('EXISTS', K.budget_waiter_counts) == 0 then
    return
  end
  local earmarked, invalid_answer = unpack(redis.call('HMGET', job, 'promise', 'faulty'))
  if earmarked or invalid_answer then
    return -- a repair costs less than the job's kind
  end
  local least, samples = unpack(redis.call('HMGET', kind_of(lane, batch), 'least', 'samples'))
  if tonumber(samples or 0) < ENOUGH_SAMPLES then
    return
  end
  for _, scope in ipairs(scopes_of(job)) do
    if redis.call('HEXISTS', K.budget_waiter_counts, scope) == 1 then
      local room, headroom = free_in(scope, day)
      if tonumber(least) > room then
        return scope, least, tonumber(least) > headroom and State.PARKED or State.WAITING
      end
    end
  end
end

local function look_at_waiters(scope, day, most)
  local room, headroom = free_in(scope, day)
  local done = give_up(scope, headroom, day, most)
  for _, state in ipairs({ State.WAITING, State.PARKED }) do
    local woken
    woken, room = admit_waiters(scope, state, room, most - done)
    done = done + woken
  end
  return done
end

-- Looks at every scope where room was made or lost, at some of their waiters at a time.
local function look_at_budgets(day)
  local left = MOST_AT_ONCE
  for _, scope in ipairs(redis.call('ZRANGE', K.budget_looks, 0, MOST_AT_ONCE - 1)) do
    if left <= 0 then
      break
    end
    local done = look_at_waiters(scope, day, left)
    if done < left then
      redis.call('ZREM', K.budget_looks, scope)
    end
    left = left - math.max(done, 1)
  end
  if redis.call('EXISTS', K.budget_looks) == 1 then
    wake()
  end
end

-- A new day, and perhaps a new month, has budgets of its own. Batches whose books have expired are
-- listed no more.
local function turn_day(day)
  if redis.call('HGET', K.dispatcher, 'today') == day then
    return
  end
  redis.call('HSET', K.dispatcher, 'today', day)
  for _, scope in ipairs(redis.call('HKEYS', K.budget_waiter_counts)) do
    redis.call('ZADD', K.budget_looks, 'NX', at(now), scope)
  end
  for _, scope in ipairs(redis.call('SMEMBERS', K.budgets)) do
    if redis.call('EXISTS', K.book .. scope) == 0 then
      redis.call('SREM', K.budgets, scope)
    end
  end
end
