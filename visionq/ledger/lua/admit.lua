-- include: core/base, core/events, gates/gates, jobs/moves, jobs/slots, lanes/holds, lanes/lanes
-- include: metrics/counters, money/books, money/calls, money/waiters, rate_limit/limits
-- include: rate_limit/permits, single_flight/single_flight

-- The last gate before a call: takes everything that the call needs, or nothing.
-- ARGV: now, id, token, content key ('' where the answer is of no use to others), what an earlier
--   answer is good for (use | refresh | off), nano-rubles to reserve ('' where the model has no
--   price), today's date, tokens to expect, Celery results of one who follows, of one who waits for
--   a budget, of one who is parked for it, and of one who is parked because a call of it, or of its
--   question, has no known end; the content key of a picture that looks alike (''), whose answer would
--   do; then for a line of a batch: the batch, who holds its record, the line as
--   JSON, its bytes and tokens, and the Celery result of what waits for it
-- Returns {'GO'} | {'ANSWER', document} | {'ANSWER', document, 'near'} | {'FOLLOW'} | {'WAIT', ms} | {'PARK', reason}
--   | {'REFUSED', state} | {'EXPIRED'} | {'UNPRICED'}. After FOLLOW and PARK the job is out of the
--   worker's hands already, as after GO in a batch; after WAIT it is still in them.
-- A verdict function returns nil when it has nothing against the call.

local id, token, cache_key, reuse = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local reserve, today, tokens = ARGV[6], ARGV[7], tonumber(ARGV[8])
local waits_result, unclear_result = ARGV[9], ARGV[12]
local budget_results = { [State.WAITING] = ARGV[10], [State.PARKED] = ARGV[11] }
local near, into, holder_of_batch, line, line_bytes, line_tokens, line_result = unpack(ARGV, 13)
refuse_unless_whole(reserve, ARGV[8])
local job = K.job .. id
local state, holder, sent, deadline, pool, lane, batch = unpack(
  redis.call('HMGET', job, 'state', 'token', 'sent', 'deadline', 'pool', 'lane', 'batch')
)

-- A seller whose calls were dearer than our prices, by its own word, is reserved for as such.
local dearer = lane and reserve ~= '' and redis.call('GET', K.cost_factor .. model_of(lane))
if dearer then
  reserve = at(math.ceil(tonumber(reserve) * tonumber(dearer)))
end

local function fence()
  if into then
    local of_batch, of = unpack(redis.call('HMGET', K.provider_batch .. into, 'state', 'holder'))
    if of_batch ~= 'packing' or of ~= holder_of_batch then
      return { Verdict.REFUSED, state or State.MISSING }
    end
  end
  if state ~= State.IN_PROGRESS or holder ~= token then
    return { Verdict.REFUSED, state or State.MISSING }
  end
end

-- A paid answer that came late for this very job, else a stored one to the same question.
local function cached_answer()
  local answer = redis.call('HGET', job, 'late_answer')
  if not answer and reuse == 'use' and cache_key ~= '' then
    answer = redis.call('GET', K.answer .. cache_key)
  end
  if answer then
    return { Verdict.ANSWER, answer }
  end
  local alike = near ~= '' and redis.call('GET', K.answer .. near)
  if alike then
    return { Verdict.ANSWER, alike, 'near' }
  end
end

local function deadline_passed()
  if deadline and tonumber(deadline) <= now then
    return { Verdict.EXPIRED }
  end
end

-- A repeated admit is the same call.
local function sent_already()
  if sent == token then
    return { Verdict.GO }
  end
end

-- Out of the worker's hands, until its deadline at the latest.
local function put_aside(to, reason, result)
  release_slot(job)
  move(job, State.IN_PROGRESS, to, 'reason', reason)
  set_due(id, deadline)
  redis.call('SET', K.celery_result .. id, result)
  emit_event(id, to, reason)
  wake()
end

-- Another job asks the same, or about a picture that looks alike: wait for its answer instead of paying
-- for another.
local function is_led(key)
  local leader = key ~= '' and leader_of(key) or id
  -- Nobody who is asked at once waits for a batch.
  return leader ~= id and (into or redis.call('HEXISTS', K.job .. leader, 'line') == 0)
end

local function lead()
  local key = is_led(cache_key) and cache_key or near
  if reuse ~= 'use' or cache_key == '' or not is_led(key) then
    return
  end
  redis.call('RPUSH', K.followers .. key, id)
  put_aside(State.WAITING, DelayReason.FOLLOWS, waits_result)
  return { Verdict.FOLLOW }
end

local function park_as_unclear()
  put_aside(State.PARKED, DelayReason.BILLING_UNKNOWN, unclear_result)
  end_single_flight(id, job) -- it led to repair its answer
  return { Verdict.PARK, DelayReason.BILLING_UNKNOWN }
end

-- What came of an earlier call could not be written (block.lua): only a person has it asked again.
local function blocked()
  if redis.call('HEXISTS', job, 'refused') == 1 then
    return park_as_unclear()
  end
end

-- The question was asked as often as anything is without knowing whether that was paid: the job waits
-- until one of these calls is known.
local function unclear()
  if cache_key == '' or tonumber(redis.call('GET', K.unclear .. cache_key) or 0) < MOST_UNCLEAR then
    return
  end
  local verdict = park_as_unclear()
  redis.call('HSET', job, 'blocked_by', cache_key)
  redis.call('RPUSH', K.followers .. cache_key, id)
  return verdict
end

local function gate()
  local standing = read_gate(gate_of(pool))
  local scope = held_by(lane)
  if calls_left(standing) > 0 and not scope then
    return
  end
  release_slot(job)
  requeue(id, job, State.IN_PROGRESS)
  return { Verdict.PARK, scope and redis.call('HGET', K.holds, scope) or standing.reason }
end

-- Where two budgets have no room, the one that waiting does not help decides.
local function budget()
  local needed, has_budget, scope, short = tonumber(reserve), false, nil, nil
  for _, one in ipairs(scopes_of(job)) do
    local room, headroom = left_in(one, today)
    has_budget = has_budget or headroom < math.huge
    if has_budget and not needed then
      return { Verdict.UNPRICED }
    elseif has_budget and needed > headroom and short ~= State.PARKED then
      scope, short = one, State.PARKED
    elseif has_budget and needed > room and not short then
      scope, short = one, State.WAITING
    end
  end
  if has_budget and redis.call('HEXISTS', job, 'faulty') == 0 then -- a repair costs less than the job's kind
    take_sample(kind_of(lane, batch), needed, not short)
  end
  if not short then
    return
  elseif short == State.PARKED then
    tell_exhausted(scope, today, needed)
  end
  release_slot(job)
  wait_for_budget(id, job, State.IN_PROGRESS, scope, reserve, short)
  end_single_flight(id, job) -- it led to repair its answer: others, with budgets of their own, need not wait
  redis.call('SET', K.celery_result .. id, budget_results[short])
  wake()
  return { Verdict.PARK, WAITING_REASONS[short] }
end

-- A call that is early waits with its permit; one that would wait for long goes back to its lane,
-- which the dispatcher then leaves alone.
local rate_limit

local function wait_for_rate_limit()
  rate_limit = read_rate_limit(model_of(lane))
  local permit, too_late = permit_for(rate_limit, job, tokens)
  if not permit then
    hold('pace:' .. model_of(lane), DelayReason.RATE_LIMITED, too_late - rate_limit.horizon)
    release_slot(job)
    requeue(id, job, State.IN_PROGRESS)
    wake()
    return { Verdict.PARK, DelayReason.RATE_LIMITED }
  end
  if permit > now then
    return { Verdict.WAIT, at(math.ceil(permit - now)) }
  end
end

-- The leader of those that ask the same: the first, but one that is asked at once before one in a batch.
local function take_lead()
  local leader = leader_of(cache_key)
  if not leader or redis.call('HEXISTS', K.job .. leader, 'line') == 1 then
    redis.call('HSET', job, 'lead', cache_key)
    redis.call('SET', K.leader .. cache_key, id)
  end
end

-- Only now is the promised room taken: a job that waited for the rate limit has kept it.
local function book_call()
  reserve_money(job, token, reserve == '' and '0' or reserve, today)
  clear_earmark(job)
  redis.call('HINCRBY', job, 'calls', 1)
  if cache_key ~= '' then
    redis.call('HSET', job, 'asks:' .. token, cache_key)
    take_lead()
  end
end

-- The line has its place: from here on its batch decides what becomes of it. No rate limit holds for
-- batches, and the gate counts calls that come back soon.
local function join_batch()
  book_call()
  redis.call('HDEL', job, 'sent_at', 'forecast', 'tokens')
  release_slot(job)
  move(job, State.IN_PROGRESS, State.WAITING, 'reason', DelayReason.BATCH, 'line', into)
  redis.call('ZREM', K.due, id)
  redis.call('SET', K.celery_result .. id, line_result)
  redis.call('HSET', K.provider_batch_lines .. into, token, line)
  redis.call('HINCRBY', K.provider_batch .. into, 'lines', 1)
  redis.call('HINCRBY', K.provider_batch .. into, 'bytes', line_bytes)
  redis.call('HINCRBY', K.provider_batch .. into, 'tokens', line_tokens)
  redis.call('HINCRBY', K.provider_batch .. into, 'reserved', reserve == '' and '0' or reserve)
  emit_event(id, State.WAITING, DelayReason.BATCH)
  return { Verdict.GO }
end

local function mark_sent()
  book_call()
  release_rate_limit(rate_limit, job, tokens)
  local key = gate_of(pool)
  local epoch = redis.call('HGET', key, 'epoch') or '0'
  redis.call('HSET', job, 'gate', key, 'epoch', epoch)
  redis.call('HINCRBY', key, 'calls_out', 1)
  return { Verdict.GO }
end

return fence() or sent_already() or cached_answer() or deadline_passed() or blocked() or lead() or unclear() or gate()
  or budget() or into and join_batch() or wait_for_rate_limit() or mark_sent()
