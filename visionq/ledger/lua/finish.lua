-- Writes the outcome of an attempt in one step. Only the state is fenced by the token: money and a
-- paid answer are taken from whoever brings them, however late.
-- ARGV: now, id, token, outcome (completed | failed | waiting | parked | held), reason,
--   delay in ms ('' for none), attempts to count, billing (settled | unknown | released),
--   nano-rubles that it cost, or if unknown that it can have cost, error document (of waiting: faulty answer to mend), Celery result, answer, content key, answer ttl (s),
--   result ttl (s), blob grace (s), ended jobs and events to keep listed,
--   nano-rubles that a stored answer saved, what is held ('gate', 'model:…' or ''), today's date,
--   what the call tells of the model's pace (JSON or ''), what the worker has counted
--   (shared/metrics.lua), Celery result of a job that waits for the end of an outage ('' where it must
--   not), the job's lane and batch ('' for none), until when a job of this claim can't have expired
--   (ms), and as the last the call's usage (shared/usage.lua)
-- Returns 'done' | 'put_off' (the provider is out: the job went back to its lane instead) | 'fenced'

local id, token, outcome, reason, delay = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local counted, billing, cost = ARGV[7], ARGV[8], ARGV[9]
local error_document, celery_result = ARGV[10], ARGV[11]
local answer, cache_key, answer_ttl = ARGV[12], ARGV[13], tonumber(ARGV[14])
local keep = {
  ttl = tonumber(ARGV[15]),
  blob_grace = tonumber(ARGV[16]),
  finished = tonumber(ARGV[17]),
  events = tonumber(ARGV[18]),
}
local saved, scope, today, put_off_result = ARGV[19], ARGV[20], ARGV[21], ARGV[24]
local job = K.job .. id
local state, holder, sent, ended_by, unknown, interrupted, gate, epoch, reserved, settled, lane, said, refused = unpack(
  redis.call(
    'HMGET', job,
    'state', 'token', 'sent', 'ended_by', 'unknown:' .. token, 'interrupted', 'gate', 'epoch',
    'reserved', 'settled:' .. token, 'lane', 'said:' .. token, 'refused'
  )
)
-- A call that nobody knows of: its mark was written just before Redis lost its last moments.
local is_unmarked = sent ~= token and not unknown and not settled and not said and ended_by ~= token
local is_paid = billing == 'settled'
local was_forgotten = is_paid and is_unmarked

local is_faulty = outcome == 'waiting' and error_document ~= ''
-- Whoever is to mend its answer stays the lead: nobody else need pay for the pictures meanwhile.
local mends = is_faulty and state == 'in_progress' and holder == token

refuse_unless_whole(cost, saved, counted, delay)
for _, text in ipairs({ ARGV[22], ARGV[#ARGV] }) do
  if text ~= '' then
    cjson.decode(text) -- fails if it is none
  end
end
redis.call('HLEN', K.money_of_day .. today) -- likewise, if it is of another kind

-- At Redis's memory limit a script goes through only if its first write removes something.
redis.call('ZREM', K.parked, '')
-- If something below is refused, what stands is in part, and the job is not to be called again
-- (block.lua): `written` takes the mark away.
if state and not refused then
  redis.call('HSET', job, 'refused', token)
end

local function written(reply)
  if not refused or refused == token then
    redis.call('HDEL', job, 'refused')
  end
  return reply
end

local function note_cost(its_lane, amount)
  labels_of(its_lane, true)
  if tonumber(amount) > 0 then
    count_for(its_lane, 'spent|{tenant}|{model}', amount)
  end
  note_usage(ARGV[#ARGV])
end

-- What the operator said that the call cost gives way to what it did cost. Counters only grow: what
-- was said too much stays in them.
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
  if sent == token and billing ~= 'unknown' then
    close_sent(job, token, price)
  elseif sent == token then
    sent_becomes_unknown(job)
    return
  elseif unknown and billing ~= 'unknown' then
    close_unknown(job, token, unknown, price)
    if interrupted == token then
      redis.call('HDEL', job, 'interrupted')
    end
  elseif said and billing ~= 'unknown' then
    price = correct_what_was_said()
  elseif was_forgotten then
    post(job, today, { settled = cost }, true)
  else
    if billing == 'unknown' and is_unmarked and cost ~= '0' then
      unmarked_becomes_unknown(job, token, cost, today)
    end
    return
  end
  redis.call('HSET', job, 'settled:' .. token, '1')
  if price ~= '0' then
    book_on(today, 'settled', price)
    increase(job, 'cost', price)
  end
  return price
end

-- Redis has lost the job, and not what its call cost: that is booked once, whoever tells it again.
local function book_without_job(its_lane, batch, expires)
  local is_open = not redis.call('ZSCORE', K.closed_calls, token) and now < tonumber(expires)
  if cost == '0' or billing == 'released' or not is_open then
    return
  end
  local scopes = { 'tenant:' .. tenant_of(its_lane) }
  if batch ~= '' then
    table.insert(scopes, 1, 'batch:' .. batch)
  end
  if billing == 'unknown' then
    post_to(scopes, today, { unknown = cost, unknown_calls = 1 }, true)
    list_unknown(entry_of(id, token, cost, scopes, today))
    close_call(token)
  else
    post_to(scopes, today, { settled = cost }, true)
    book_on(today, 'settled', cost)
    close_call(token)
    note_cost(its_lane, cost)
  end
  if batch ~= '' and redis.call('EXISTS', K.batch .. batch) == 0 then
    redis.call('EXPIRE', K.book .. 'batch:' .. batch, keep.ttl) -- until its jobs are entered again
  end
end

-- What the end of a call tells of the provider. Returns whether that is known to be out.
local function record_provider_feedback()
  local model, is_free = model_of(lane), billing == 'released'
  if billing == 'unknown' or is_free and reason == OUTAGE then
    local gives_up = put_off_result ~= '' and outcome ~= 'waiting'
    return record_silence(job, model, gate, epoch, is_free and 1 or 2, gives_up)
  end
  redis.call('HDEL', gate, 'silence')
  if is_paid then
    pass_gate(gate, epoch)
    model_answered(job, model)
  elseif reason == 'model_not_found' then
    record_missing_model(job, gate, lane, error_document)
  else
    redis.call('HDEL', K.rate_limit .. model, 'silence')
  end
  return false
end

-- A call that was given up has come back after all. What was paid is kept, also where it is to be
-- mended or is a failure for good; where nothing was, nothing is unclear any more.
local function accept_late_result()
  if sent ~= token and not unknown and not said and not was_forgotten then
    return
  end
  local brings = answer ~= '' or is_faulty and not TERMINAL[state]
  if brings then
    redis.call('HSET', job, is_faulty and 'faulty' or 'late_answer', is_faulty and error_document or answer)
  end
  local is_unclear = state == 'parked' and redis.call('HGET', job, 'reason') == 'billing_unknown'
  if is_unclear and outcome == 'failed' and is_paid then
    return finalize(id, job, 'parked', 'failed', reason, error_document, celery_result, keep)
  end
  local is_clear = brings or billing ~= 'unknown' and redis.call('HGET', job, 'unknown_calls') == '0'
  if is_unclear and is_clear or brings and leave_waiters(id, job) then
    redis.call('ZREM', K.parked, id)
    if answer ~= '' then
      waive_budget(job)
    end
    requeue(id, job, state)
    wake()
  end
end

if answer ~= '' and cache_key ~= '' and answer_ttl > 0 then
  redis.call('SET', K.answer .. cache_key, answer, 'EX', answer_ttl)
end
if not state then
  book_without_job(ARGV[25], ARGV[26], ARGV[27])
  return 'fenced'
end
if ended_by ~= token then -- else it is told again, since the reply was lost
  count_all(lane, ARGV[23], is_paid)
end
if sent == token then
  record_feedback(job, ARGV[22], billing)
end
local is_out, price = false, settle()
if price and is_paid then
  note_cost(lane, price)
end
if sent == token then
  is_out = gate and record_provider_feedback()
  call_ended(id, job, mends)
end
if state ~= 'in_progress' or holder ~= token then
  accept_late_result()
  if TERMINAL[state] and sent == token then
    let_go(id, job)
  end
  if ended_by == token then
    return written('done') -- the reply to the first call was lost
  end
  count('fenced')
  return written('fenced')
end

local function park_alone()
  move(job, 'in_progress', 'parked')
  redis.call('HSET', job, 'reason', reason)
  redis.call('ZADD', K.parked, at(now), id)
  redis.call('ZADD', K.due, at(now + tonumber(delay)), id)
  emit_event(id, 'parked', reason)
end

-- No call of this key, or of this model, can succeed now: others need not find out one by one.
local function hold_back()
  local key = gate or gate_of(redis.call('HGET', job, 'pool'))
  release_slot(job)
  redis.call('SET', K.celery_result .. id, celery_result, 'EX', keep.ttl)
  if scope ~= 'gate' then
    rest_model(string.match(scope, '^model:(.+)$'), reason, tonumber(delay))
  elseif refuse_at_gate(key, epoch, job, reason, reserved) then
    return park_alone()
  end
  -- At the tail: another job makes the trial.
  requeue(id, job, 'in_progress', 'RPUSH')
  emit_event(id, 'queued', reason)
end

-- No job need find out by itself that the provider is out: nothing is burned, and others go first.
local function put_off()
  redis.call('SET', K.celery_result .. id, put_off_result, 'EX', keep.ttl)
  release_slot(job)
  requeue(id, job, 'in_progress', 'RPUSH')
  emit_event(id, 'queued', OUTAGE)
end

is_out = is_out and put_off_result ~= ''
if mends then
  redis.call('HSET', job, 'faulty', error_document)
  redis.call('HDEL', job, 'deadline') -- it is for the first call, which was sent in time
end
redis.call('HINCRBY', job, 'attempts', is_out and 0 or counted)
redis.call('HDEL', job, 'interrupted')
local is_news = saved ~= '0' and ended_by ~= token
if is_news then
  post(job, today, { saved = saved }, true)
  book_on(today, 'saved', saved)
end
redis.call('HSET', job, 'ended_by', token)
if TERMINAL[outcome] or not is_paid then
  redis.call('HDEL', job, 'settled:' .. token) -- `ended_by` says it for as long as it matters
end
if is_news then
  count_for(lane, 'saved|{tenant}|{model}', saved)
end
if is_out then
  put_off()
elseif outcome == 'held' then
  hold_back()
elseif TERMINAL[outcome] then
  finalize(id, job, 'in_progress', outcome, reason, error_document, celery_result, keep)
else
  release_slot(job)
  move(job, 'in_progress', outcome)
  redis.call('HSET', job, 'reason', reason)
  if outcome == 'waiting' and counted == '0' then
    redis.call('HINCRBY', job, 'waits', 1)
  else
    redis.call('HDEL', job, 'waits')
  end
  redis.call('SET', K.celery_result .. id, celery_result, 'EX', keep.ttl)
  if outcome == 'parked' then
    redis.call('ZADD', K.parked, at(now), id)
    redis.call('HDEL', job, 'blocked_by')
  end
  local late_answer, unknown_calls = unpack(redis.call('HMGET', job, 'late_answer', 'unknown_calls'))
  if reason == 'billing_unknown' and (late_answer or outcome == 'parked' and unknown_calls == '0') then
    delay = '0' -- an earlier call came back while this attempt ran
  end
  if delay == '' then
    redis.call('ZREM', K.due, id)
  else
    redis.call('ZADD', K.due, at(now + tonumber(delay)), id)
  end
  emit_event(id, outcome, reason, keep.events)
end
wake()
return written(is_out and 'put_off' or 'done')
