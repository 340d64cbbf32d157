-- include: core/base, gates/gates, jobs/ending, jobs/moves, lanes/lanes, metrics/counters
-- include: metrics/labels, money/books, money/calls, money/waste, rate_limit/feedback, rate_limit/limits

-- The common way of finish.lua: the call that was sent brought an answer, at the cost of the table, and
-- nothing else has happened to the job, its gate or its model. Where it is not the common way, nothing is
-- written.
-- ARGV: as for finish.lua
-- Returns 'done' | 'other'

local ending = read_ending()
local id, token, cost, keep = ending.id, ending.token, ending.cost, ending.keep
local job = K.job .. id
local its = read(
  job, 'state', 'token', 'sent', 'ended_by', 'interrupted', 'gate', 'epoch', 'reserved', 'lane', 'refused', 'sent_at',
  'forecast', 'tokens', 'pool', 'batch', 'blobs', 'idempotency', 'lead', 'promise', 'waits_for', 'taken', 'attempts',
  'online', 'line', 'canvas',
  'day:' .. token, 'unknown:' .. token, 'settled:' .. token, 'said:' .. token
)
local day = its['day:' .. token]

local function is_mine()
  return its.state == State.IN_PROGRESS and its.token == token and its.sent == token and its.ended_by ~= token
    and its.gate and its.pool and its.reserved and day
    and not (its.refused or its.interrupted or its.promise or its.waits_for or its.taken or its.online or its.line)
    and not (its['unknown:' .. token] or its['settled:' .. token] or its['said:' .. token])
end

local news, gate, rate_limit = ending.feedback or {}, nil, nil

local function is_news(limit, told)
  return limit and limit > 0 and limit ~= told
end

local function is_calm()
  gate, rate_limit = read_gate(its.gate), read_rate_limit(model_of(its.lane))
  return gate.state == 'open' and gate.epoch == tonumber(its.epoch) and not (news.refused or rate_limit.step)
    and not is_news(news.requests_limit, rate_limit.told_requests)
    and not is_news(news.tokens_limit, rate_limit.told_tokens)
    and not (its.lead and redis.call('EXISTS', K.followers .. its.lead) == 1)
end

-- A place is free for a job of the lane's queue. While enough hints lie ahead, it takes one of them, and
-- the dispatcher need not look; but those who wait in the other queue, or whose hold ends, or for a
-- webhook, may have waited for the place.
local function wake_if_needed(lane)
  local queue = split_lane(lane)
  local other = queue == K.queue_bulk and K.queue_interactive or K.queue_bulk
  if redis.call('EXISTS', K.tenant_ring .. other, K.hold_ends, K.delivery_tenants) > 0 then
    return wake()
  elseif redis.call('EXISTS', K.tenant_ring .. queue) == 0 then
    return
  end
  local ahead = tonumber(redis.call('HGET', K.hinted, queue) or 0)
  if ahead <= tonumber(redis.call('HGET', K.dispatcher, 'low') or 0) then
    wake()
  end
end

refuse_unless_whole(cost)
if not (is_mine() and is_calm()) then
  return 'other'
end
for _, key in ipairs({ K.money_of_day .. ending.today, K.pool_busy, K.counts }) do
  redis.call('HLEN', key) -- fails if it is of another kind
end

-- In the order of finish.lua, and with its marks, for the same reasons.
redis.call('ZREM', K.parked, '')
redis.call('HSET', job, 'refused', token)
if ending.cache_key ~= '' and ending.answer_ttl > 0 then
  redis.call('SET', K.answer .. ending.cache_key, ending.answer, 'EX', ending.answer_ttl)
end
rate_limit.gathered = {}
record_feedback(its, rate_limit, news, Billing.SETTLED)

local scopes = scopes_of_lane(its.lane, its.batch)
local post_amounts = is_bounded(scopes) and post_to or post_unbounded
post_amounts(scopes, day, { reserved = negative(its.reserved), settled = cost })
redis.call('HDEL', job, 'sent', 'reserved', 'day:' .. token, 'asks:' .. token)
redis.call('HSET', job, 'settled:' .. token, '1')
labels_of(its.lane, true)
if cost ~= '0' then
  book_on(ending.today, 'settled', cost)
  increase(job, 'cost', cost)
  count_for(its.lane, 'spent|{tenant}|{model}', cost)
end

redis.call('HSET', gate.key, 'passes', at(gate.passes + 1), 'calls_out', at(gate.calls_out - 1))
if gate.silence then
  redis.call('HDEL', gate.key, 'silence')
end
local calls_out = (rate_limit.calls_out or 0) - 1
set(rate_limit, 'answered', '1')
set(rate_limit, 'calls_out', at(calls_out))
write_gathered(rate_limit)
if rate_limit.silence or rate_limit.missing then
  redis.call('HDEL', rate_limit.key, 'silence', 'missing')
end
if calls_out == 0 and (rate_limit.at_hand or 0) == 0 then
  redis.call('EXPIRE', rate_limit.key, RATE_LIMIT_KEPT)
end
if rate_limit.concurrency then
  look_at_model_again(model_of(its.lane))
end
if its.lead and redis.call('GET', K.leader .. its.lead) == id then
  redis.call('DEL', K.leader .. its.lead)
end

redis.call('HINCRBY', K.counts, State.IN_PROGRESS, -1)
redis.call('HINCRBY', K.counts, State.COMPLETED, 1)
redis.call('HINCRBY', K.pool_busy, its.pool, -1)
redis.call('HDEL', job, 'gate', 'epoch', 'lead', 'pool', 'worker', 'token', 'settled:' .. token)
redis.call(
  'HSET', job, 'state', State.COMPLETED, 'ended_by', token, 'attempts', its.attempts or '0', 'finished', at(now),
  'reason', '', 'ttl', keep.ttl
)
redis.call('ZREM', K.due, id)
redis.call('EXPIRE', job, keep.ttl)
announce_end(id, its, State.COMPLETED, '', ending.celery_result, keep)
count_paid_end(id, job, its.lane, State.COMPLETED, '', keep.ttl)
redis.call('HDEL', job, 'refused')
wake_if_needed(its.lane)
return Written.DONE
