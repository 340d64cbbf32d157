-- include: core/base, core/events, gates/gates, gates/outages, jobs/ending, jobs/further_models, jobs/moves
-- include: jobs/slots, lanes/lanes, metrics/counters, metrics/labels, money/books, money/calls
-- include: money/usage, money/waiters, money/waste, rate_limit/feedback, rate_limit/limits
-- include: single_flight/single_flight

-- Writes the outcome of an attempt in one step. Only the state is fenced by the token: money and a
-- paid answer are taken from any worker, however late.
-- ARGV: now, the ending as JSON (`finish` in visionq/ledger/endings.py), Celery's result, and the
--   answer if there is one. Amounts of money are text: numbers in Lua hold no more than 53 bits.
-- Returns a `Written`: PUT_OFF if the provider is out and the job went back to its lane instead.

local ending = read_ending()
local id, token, outcome, reason = ending.id, ending.token, ending.outcome, ending.reason
local billing, cost = ending.billing, ending.cost
local job = K.job .. id
local was = read(
  job, 'state', 'token', 'sent', 'ended_by', 'interrupted', 'gate', 'epoch', 'reserved', 'lane', 'refused',
  'sent_at', 'forecast', 'tokens', 'waits', 'line', 'unknown:' .. token, 'settled:' .. token, 'said:' .. token
)
local state, sent, unknown, said = was.state, was.sent, was['unknown:' .. token], was['said:' .. token]
-- Its lease lapsed while this was about to be written, and its batch has the line again.
was.is_back = state == State.WAITING and was.line and sent == token
local is_mine = state == State.IN_PROGRESS and was.token == token or was.is_back
-- A call that nobody knows of: its mark was written just before Redis lost its last moments.
local is_unmarked = sent ~= token and not unknown and not was['settled:' .. token] and not said and was.ended_by ~= token
local is_paid = billing == Billing.SETTLED
-- A job that repairs its answer stays the leader: no other pays for the pictures meanwhile.
local mends = ending.invalid_answer and is_mine

refuse_unless_whole(cost, ending.saved, ending.delay or '')
redis.call('HLEN', K.money_of_day .. ending.today) -- fails if it is of another kind

-- At Redis's memory limit a script goes through only if its first write removes something.
redis.call('ZREM', K.parked, '')
-- If Redis refuses a write below, the ending is there in part, and no call of the job may follow
-- (block.lua): `written` takes the mark away.
if state and not was.refused then
  redis.call('HSET', job, 'refused', token)
end

if was.is_back then
  move(job, State.WAITING, State.IN_PROGRESS, 'token', token)
  redis.call('ZADD', K.due, at(now), id)
  state, was.token = State.IN_PROGRESS, token
end

local function written(reply)
  if not was.refused or was.refused == token then
    redis.call('HDEL', job, 'refused')
  end
  return reply
end

local function note_cost(its_lane, amount)
  labels_of(its_lane, true)
  if tonumber(amount) > 0 then
    count_for(its_lane, was.line and sent == token and 'spent|{tenant}|{model}|batch' or 'spent|{tenant}|{model}', amount)
  end
  if ending.told_cost then
    note_cost_factor(model_of(its_lane), ending.told_cost, ending.table_cost)
  end
end

-- The real cost replaces what the operator entered. Counters only grow: what
-- was entered too high stays in them.
local function correct_what_was_said()
  local day, excess = redis.call('HGET', job, 'day:' .. token), at((is_paid and cost or 0) - said)
  post(job, day, { settled = excess })
  redis.call('HDEL', job, 'said:' .. token, 'day:' .. token)
  return excess
end

-- Writes the money of the call, all or nothing, and before anything that Redis may refuse. Returns
-- what it has cost more than is in the books of the day, or nil where it is not done with.
local function settle()
  local price = is_paid and cost or '0'
  if sent == token and billing ~= Billing.UNKNOWN then
    close_sent(job, token, price)
  elseif sent == token then
    sent_becomes_unknown(job)
    return
  elseif unknown and billing ~= Billing.UNKNOWN then
    close_unknown(job, token, unknown, price)
    if was.interrupted == token then
      redis.call('HDEL', job, 'interrupted')
    end
  elseif said and billing ~= Billing.UNKNOWN then
    price = correct_what_was_said()
  elseif is_paid and is_unmarked then
    post(job, ending.today, { settled = cost }, true)
  else
    if billing == Billing.UNKNOWN and is_unmarked and cost ~= '0' then
      unmarked_becomes_unknown(job, token, cost, ending.today)
    end
    return
  end
  redis.call('HSET', job, 'settled:' .. token, '1')
  if price ~= '0' then
    book_on(ending.today, 'settled', price)
    increase(job, 'cost', price)
    if was.line and sent == token then
      increase(K.provider_batch .. was.line, 'settled', price)
    end
  end
  return price
end

-- Redis has lost the job. What its call cost is booked once, however often it is reported.
local function book_without_job(its_lane, batch)
  local is_open = not redis.call('ZSCORE', K.closed_calls, token) and now < ending.job_expires
  if cost == '0' or billing == Billing.RELEASED or not is_open then
    return
  end
  local scopes = { 'tenant:' .. tenant_of(its_lane) }
  if batch then
    table.insert(scopes, 1, 'batch:' .. batch)
  end
  if billing == Billing.UNKNOWN then
    post_to(scopes, ending.today, { unknown = cost, unknown_calls = 1 }, true)
    list_unknown(entry_of(id, token, cost, scopes, ending.today))
    close_call(token)
  else
    post_to(scopes, ending.today, { settled = cost }, true)
    book_on(ending.today, 'settled', cost)
    close_call(token)
    note_cost(its_lane, cost)
  end
  if batch and redis.call('EXISTS', K.batch .. batch) == 0 then
    redis.call('EXPIRE', K.book .. 'batch:' .. batch, ending.keep.ttl) -- until its jobs are entered again
  end
end

-- What the end of a call tells of the provider. Returns whether that is known to be out.
local function record_provider_feedback()
  local model, gate, is_free = model_of(was.lane), was.gate, billing == Billing.RELEASED
  if billing == Billing.UNKNOWN or is_free and reason == OUTAGE then
    local gives_up = ending.put_off_result and outcome ~= State.WAITING
    return record_silence(job, model, gate, was.epoch, is_free and 1 or 2, gives_up)
  end
  redis.call('HDEL', gate, 'silence')
  if is_paid then
    pass_gate(gate, was.epoch)
    model_answered(job, model)
  elseif reason == DelayReason.MODEL_NOT_FOUND then
    record_missing_model(job, gate, was.lane, ending.error)
  else
    redis.call('HDEL', K.rate_limit .. model, 'silence')
  end
  return false
end

-- Money and move are one step: nobody can pay the next model and forget what the last one cost. A job whose
-- billing is unknown takes no fallback; it waits until that is known.
local function move_on(from)
  local to = first_served(ending.models)
  redis.call('SET', K.celery_result .. id, ending.celery_result, 'EX', ending.keep.ttl)
  local unknown_calls, fallback = unpack(redis.call('HMGET', job, 'unknown_calls', 'fallback'))
  local is_fallback = fallback and string.find(' ' .. fallback .. ' ', ' ' .. to .. ' ', 1, true)
  if is_fallback and tonumber(unknown_calls or 0) > 0 then
    move(job, from, State.PARKED, 'reason', DelayReason.BILLING_UNKNOWN)
    set_due(id, nil)
    return emit_event(id, State.PARKED, DelayReason.BILLING_UNKNOWN)
  end
  end_single_flight(id, job)
  change_model(id, job, to, reason, ending.step)
  if sent == token then
    redis.call('HDEL', job, 'deadline') -- it is for the first call, which was sent in time
  end
  requeue(id, job, from)
  emit_event(id, State.QUEUED, reason)
end

-- A call that was given up has come back after all. What was paid is kept, even if it needs
-- repair or is a final failure; if nothing was paid, nothing is unclear any more.
local function accept_late_result()
  if sent ~= token and not unknown and not said and not (is_paid and is_unmarked) then
    return
  end
  local invalid_answer, is_same_model = ending.invalid_answer, model_of(ending.lane) == model_of(was.lane)
  local brings = is_same_model and (ending.answer or invalid_answer and not TERMINAL[state])
  if brings then
    redis.call('HSET', job, invalid_answer and 'faulty' or 'late_answer', invalid_answer or ending.answer)
  end
  local is_unclear = state == State.PARKED and redis.call('HGET', job, 'reason') == DelayReason.BILLING_UNKNOWN
  if is_unclear and is_same_model and outcome == 'moved' and redis.call('HGET', job, 'unknown_calls') == '0' then
    move_on(State.PARKED)
    return wake()
  elseif is_unclear and is_same_model and outcome == State.FAILED and is_paid then
    finalize(id, job, State.PARKED, State.FAILED, reason, ending.error, ending.celery_result, ending.keep)
    return count_paid_end(id, job, was.lane, State.FAILED, reason, ending.keep.ttl)
  end
  local is_clear = brings or billing ~= Billing.UNKNOWN and redis.call('HGET', job, 'unknown_calls') == '0'
  if is_unclear and is_clear or brings and leave_waiters(id, job) then
    if ending.answer then
      waive_budget(job)
    end
    requeue(id, job, state)
    wake()
  end
end

if ending.answer and ending.cache_key ~= '' and ending.answer_ttl > 0 then
  redis.call('SET', K.answer .. ending.cache_key, ending.answer, 'EX', ending.answer_ttl)
end
if not state then
  book_without_job(ending.lane, ending.batch)
  return Written.FENCED
end
if sent == token and was.gate then -- what was asked in a batch tells nothing of rates
  record_feedback(was, read_rate_limit(model_of(was.lane)), ending.feedback or {}, billing)
end
local is_out, price = false, settle()
if price and is_paid then
  note_cost(ending.lane, price)
end
if sent == token then
  is_out = was.gate and record_provider_feedback()
  call_ended(id, job, mends)
end
if not is_mine then
  accept_late_result()
  if TERMINAL[state] and sent == token then
    let_go(id, job)
  end
  if was.ended_by == token then
    -- The reply to the first call was lost; or it gave the slot back and no more was written: then the
    -- mark stays, also when the job has gone back to its lane meanwhile.
    local is_in_part = state == State.IN_PROGRESS and not was.token
      or was.refused and is_paid and TERMINAL[outcome] and not TERMINAL[state]
    return is_in_part and Written.DONE or written(Written.DONE)
  end
  count('fenced')
  return written(Written.FENCED)
end

-- No call of this key, or of this model, can succeed now: others need not find out one by one.
local function hold_back()
  local key = was.gate or gate_of(redis.call('HGET', job, 'pool'))
  release_slot(job)
  redis.call('SET', K.celery_result .. id, ending.celery_result, 'EX', ending.keep.ttl)
  if ending.model then
    rest_model(ending.model, reason, tonumber(ending.delay))
  elseif refuse_at_gate(key, was.epoch, job, reason, was.reserved) then
    move(job, State.IN_PROGRESS, State.PARKED, 'reason', reason)
    set_due(id, at(now + tonumber(ending.delay)))
    return emit_event(id, State.PARKED, reason)
  end
  -- At the tail: another job makes the trial.
  requeue(id, job, State.IN_PROGRESS, 'RPUSH')
  emit_event(id, State.QUEUED, reason)
end

-- No job need find out by itself that the provider is out: nothing is burned, and others go first.
local function put_off()
  redis.call('SET', K.celery_result .. id, ending.put_off_result, 'EX', ending.keep.ttl)
  release_slot(job)
  requeue(id, job, State.IN_PROGRESS, 'RPUSH')
  emit_event(id, State.QUEUED, OUTAGE)
end

is_out = is_out and ending.put_off_result
if mends then
  redis.call('HSET', job, 'faulty', ending.invalid_answer)
  redis.call('HDEL', job, 'deadline') -- it is for the first call, which was sent in time
end
redis.call('HINCRBY', job, 'attempts', not is_out and ending.is_counted and 1 or 0)
redis.call('HDEL', job, 'interrupted')
local has_saved = ending.saved ~= '0' and was.ended_by ~= token
if has_saved then
  post(job, ending.today, { saved = ending.saved }, true)
  book_on(ending.today, 'saved', ending.saved)
end
redis.call('HSET', job, 'ended_by', token)
if TERMINAL[outcome] or not is_paid then
  redis.call('HDEL', job, 'settled:' .. token) -- `ended_by` says it for as long as it matters
end
if has_saved then
  count_for(was.lane, 'saved|{tenant}|{model}', ending.saved)
end
if is_out then
  put_off()
elseif outcome == 'held' then
  hold_back()
elseif outcome == 'moved' then
  release_slot(job)
  move_on(State.IN_PROGRESS)
elseif TERMINAL[outcome] then
  finalize(id, job, State.IN_PROGRESS, outcome, reason, ending.error, ending.celery_result, ending.keep)
  count_paid_end(id, job, was.lane, outcome, reason, ending.keep.ttl)
else
  release_slot(job)
  move(job, State.IN_PROGRESS, outcome, 'reason', reason)
  if outcome == State.WAITING and not ending.is_counted then
    redis.call('HINCRBY', job, 'waits', 1)
  else
    redis.call('HDEL', job, 'waits')
  end
  redis.call('SET', K.celery_result .. id, ending.celery_result, 'EX', ending.keep.ttl)
  if outcome == State.PARKED then
    redis.call('HDEL', job, 'blocked_by')
  end
  local late_answer, unknown_calls = unpack(redis.call('HMGET', job, 'late_answer', 'unknown_calls'))
  local delay = ending.delay
  if reason == DelayReason.BILLING_UNKNOWN and (late_answer or outcome == State.PARKED and unknown_calls == '0') then
    delay = '0' -- an earlier call came back while this attempt ran
  end
  set_due(id, delay and at(now + tonumber(delay)))
  emit_event(id, outcome, reason, ending.keep.events)
end
wake()
return written(is_out and Written.PUT_OFF or Written.DONE)
