-- include: core/base, gates/gates, jobs/moves, lanes/holds, metrics/counters, money/books
-- include: rate_limit/limits

-- The common way of admit.lua: nothing limits the model, no budget is set, nobody asks the same, and the
-- gate is open. Where it is not the common way, nothing is written.
-- ARGV: now, id, token, content key, what an earlier answer is good for, nano-rubles to reserve, today's
--   date, tokens to expect: all as for admit.lua
-- Returns {'GO'} | 'other'

local id, token, cache_key, reuse, reserve, today, tokens = unpack(ARGV, 2)
refuse_unless_whole(reserve, tokens)
local job = K.job .. id
local its = read(
  job, 'state', 'token', 'sent', 'deadline', 'pool', 'lane', 'batch', 'late_answer', 'refused', 'promise', 'permit',
  'taken', 'calls'
)

local function is_ready()
  return reserve ~= '' and its.state == State.IN_PROGRESS and its.token == token and its.taken
    and not (its.sent or its.late_answer or its.refused or its.promise or its.permit)
    and not (its.deadline and tonumber(its.deadline) <= now)
end

-- Another asks the same, or the end of such a call is unknown, or its answer is there.
local function is_asked()
  if cache_key == '' then
    return false
  end
  local answer = reuse == 'use' and { K.answer .. cache_key } or {}
  return redis.call('EXISTS', K.leader .. cache_key, K.unclear .. cache_key, unpack(answer)) > 0
end

if not is_ready() or is_asked() then
  return 'other'
end
local gate, scopes = read_gate(gate_of(its.pool)), scopes_of_lane(its.lane, its.batch)
local rate_limit = read_rate_limit(model_of(its.lane))
if gate.state ~= 'open' or held_by(its.lane) or rate_limit.is_limited or is_bounded(scopes) then
  return 'other'
end

local dearer = redis.call('GET', K.cost_factor .. model_of(its.lane))
if dearer then
  reserve = at(math.ceil(tonumber(reserve) * tonumber(dearer)))
end
post_unbounded(scopes, today, { reserved = reserve }, true)
redis.call('HDEL', job, 'taken')
redis.call(
  'HSET', job, 'sent', token, 'reserved', reserve, 'day:' .. token, today, 'sent_at', at(now), 'forecast', tokens,
  'tokens', at(reserved_of(rate_limit, tonumber(tokens))), 'gate', gate.key, 'epoch', at(gate.epoch),
  'calls', at((its.calls or 0) + 1),
  unpack(cache_key ~= '' and { 'asks:' .. token, cache_key, 'lead', cache_key } or {})
)
rate_limit.gathered = {}
average(rate_limit, 'way', now - its.taken)
set(rate_limit, 'calls_out', at((rate_limit.calls_out or 0) + 1))
set(rate_limit, 'at_hand', at((rate_limit.at_hand or 0) - 1))
write_gathered(rate_limit)
count_of_tenant(K.tenant_unsent, its.lane, -1)
redis.call('HINCRBY', gate.key, 'calls_out', 1)
if cache_key ~= '' then
  redis.call('SET', K.leader .. cache_key, id)
end
return { Verdict.GO }
