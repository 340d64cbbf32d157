-- include: core/base, core/events, gates/gates, gates/outages, jobs/batch_lane, jobs/ending
-- include: jobs/moves, jobs/slots, lanes/holds, lanes/lanes, metrics/counters, money/books, money/calls
-- include: money/waiters, rate_limit/limits, single_flight/single_flight, webhooks/handing_out

-- Looks at what is due, then takes the next jobs of the lanes while workers have room for them.
-- ARGV: now, limit, lease, gap, first wait for a claim, longest wait (all ms), the broker is here
--   ('1' or '0'), slots per hint sent ahead, rest (ms): nothing is done so soon after the last look,
--   today's date
-- Returns {{id, queue, tenant, model, pictures}, …} to publish, {id, …} whose deadline passed,
--   {{id, tenant, event}, …} to deliver to webhooks, 1 if it was too soon after the last look

local asked = {
  limit = tonumber(ARGV[2]),
  lease = tonumber(ARGV[3]),
  gap = tonumber(ARGV[4]),
  first_wait = tonumber(ARGV[5]),
  longest_wait = tonumber(ARGV[6]),
  broker_is_here = ARGV[7] == '1',
  slots_per_hint_ahead = tonumber(ARGV[8]),
  rest = tonumber(ARGV[9]),
  today = ARGV[10],
}

local hints, expired = {}, {}

local seen, grace_until, low, turn = unpack(redis.call('HMGET', K.dispatcher, 'seen', 'grace_until', 'low', 'turn'))
turn = tonumber(turn or 0)
if seen and now - tonumber(seen) < asked.rest then
  return { hints, expired, {}, 1 }
end

-- Lease time counts only while Redis answered. Nobody looked for a while: nobody could renew either.
grace_until = tonumber(grace_until or 0)
if seen and now - tonumber(seen) > asked.gap then
  grace_until = now + asked.lease
  redis.call('HSET', K.dispatcher, 'grace_until', at(grace_until))
end
redis.call('HSET', K.dispatcher, 'seen', at(now))

local function forget_dead_workers()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.workers, '-inf', at(now), 'LIMIT', 0, asked.limit)) do
    local slots, pool = unpack(redis.call('HMGET', K.worker .. id, 'slots', 'pool'))
    if pool then
      add_slots(pool, -tonumber(slots))
    end
    redis.call('DEL', K.worker .. id)
    redis.call('ZREM', K.workers, id)
    count('workers_vanished')
    notify_operator('worker:' .. id, 'vanished', '')
  end
end

local function hint(id, lane, pictures, tries)
  local queue, tenant, model = split_lane(lane)
  hints[#hints + 1] = { id, queue, tenant, model, pictures }
  redis.call('ZADD', K.due, at(now + math.min(asked.longest_wait, asked.first_wait * 2 ^ (tries - 1))), id)
end

-- What is due --------------------------------------------------------------------------------------

local look = {}

-- The token of the attempt if its call is of unknown billing already: what was to follow was refused.
local function known_as_unknown(job)
  local token = redis.call('HGET', job, 'token')
  return token and redis.call('HEXISTS', job, 'unknown:' .. token) == 1 and token
end

look[State.IN_PROGRESS] = function(id, job)
  if now < grace_until then
    redis.call('ZADD', K.due, at(grace_until), id)
    return
  end
  local line = redis.call('HGET', job, 'line')
  if line then
    return return_line(id, job, line)
  end
  -- The last attempt may have been paid: the next claim reports it.
  local sent = sent_becomes_unknown(job) or known_as_unknown(job)
  count('leases_lost|' .. (sent and 'sent' or 'unsent'))
  if sent then
    redis.call('HSET', job, 'interrupted', sent)
    call_ended(id, job)
  else
    redis.call('HINCRBY', job, 'lapses', 1) -- perhaps its worker died of it
  end
  release_slot(job)
  requeue(id, job, State.IN_PROGRESS)
end

look[State.WAITING] = function(id, job)
  leave_waiters(id, job)
  -- Where money was risked already, others go first: they may find that the provider is out.
  local is_unclear = redis.call('HGET', job, 'reason') == DelayReason.BILLING_UNKNOWN
  requeue(id, job, State.WAITING, is_unclear and 'RPUSH')
end

look[State.PARKED] = function(id, job)
  leave_waiters(id, job)
  requeue(id, job, State.PARKED)
end

-- Only its deadline brings a queued job here.
look[State.QUEUED] = function(id, job)
  expired[#expired + 1] = id
  redis.call('ZADD', K.due, at(now + asked.lease), id)
end

look[State.HINTED] = function(id, job)
  local lane, pictures, tries = unpack(redis.call('HMGET', job, 'lane', 'pictures', 'hints'))
  if is_batch_lane(lane) then -- the packer took it, and died
    release_hint(lane)
    return requeue(id, job, State.HINTED)
  end
  local queue = split_lane(lane)
  local out = tonumber(redis.call('HGET', K.hinted, queue) or 0)
  local nobody_listens = redis.call('ZCARD', K.workers) == 0
  if nobody_listens or (asked.broker_is_here and redis.call('LLEN', queue) >= out) then
    redis.call('ZADD', K.due, at(now + asked.first_wait), id)
  else
    count('hints_repeated')
    redis.call('HSET', job, 'hints', tries + 1)
    hint(id, lane, pictures, tries + 1)
  end
end

-- What its call may have cost can't be booked: the job stays as it is until the key is repaired.
local function is_stuck(job)
  local token = redis.call('HGET', job, 'sent')
  return token and not pcall(refuse_unless_bookable, scopes_of(job), redis.call('HGET', job, 'day:' .. token))
end

local function look_at_due()
  local due = redis.call('ZRANGEBYSCORE', K.due, '-inf', at(now), 'LIMIT', 0, asked.limit)
  for _, id in ipairs(due) do
    local job = K.job .. id
    local state = redis.call('HGET', job, 'state')
    if is_stuck(job) then
      redis.call('ZADD', K.due, at(now + asked.lease), id)
    elseif look[state] then
      look[state](id, job)
    else
      -- It ended while its call was out, and the answer did not come.
      sent_becomes_unknown(job)
      call_ended(id, job)
      let_go(id, job)
    end
  end
  if #due == asked.limit then
    wake() -- there may be more
  end
end

-- What is next -------------------------------------------------------------------------------------

local MOST_RISKY_LANES = 50 -- passed over, before more of the risk is borne

local pools = {}
local left = {} -- by key
local hinted = {}
local is_out = false -- some key's calls are trials of a provider that was out
local risky_lanes, bearable_risk = 0, 0

local function ahead_of(slots)
  return asked.slots_per_hint_ahead > 0 and math.floor(slots / asked.slots_per_hint_ahead) or 0
end

-- How many jobs a key's workers may take; a closed gate begins to reopen when its pause is over.
local function left_behind(key)
  local gate = read_gate(key)
  if gate.state == 'closed' and gate.retry_at and gate.retry_at <= now then
    begin_reopening(key)
    gate = read_gate(key)
  end
  is_out = is_out or gate.state == 'reopening' and gate.reason == OUTAGE
  return math.max(0, jobs_left(key, gate))
end

local function read_pools()
  local slots = redis.call('HGETALL', K.pool_slots)
  for i = 1, #slots, 2 do
    if slots[i + 1] ~= '0' then
      local busy = tonumber(redis.call('HGET', K.pool_busy, slots[i]) or 0)
      local of_pool = tonumber(slots[i + 1])
      local pool = { queues = {}, ahead = ahead_of(of_pool), key = gate_of(slots[i]) }
      -- What a pool's dead workers still hold takes nothing from the slots of other pools.
      pool.room = math.max(0, of_pool + pool.ahead - busy)
      for queue in string.gmatch(string.match(slots[i], '^[^@]*'), '[^,]+') do
        pool.queues[queue] = true
      end
      pools[#pools + 1] = pool
      left[pool.key] = left[pool.key] or left_behind(pool.key)
    end
  end
  for _, queue in ipairs({ K.queue_interactive, K.queue_bulk }) do
    hinted[queue] = tonumber(redis.call('HGET', K.hinted, queue) or 0)
  end
end

-- Free slots of the workers that serve the queue, as far as their gates let them take jobs, less
-- every hint that those may still claim.
local function room_for(queue)
  local rooms, rivals, room = {}, {}, 0
  for _, pool in ipairs(pools) do
    if pool.queues[queue] then
      rooms[pool.key] = math.min(left[pool.key], (rooms[pool.key] or 0) + pool.room)
      for rival in pairs(pool.queues) do
        rivals[rival] = true
      end
    end
  end
  for _, of_key in pairs(rooms) do
    room = room + of_key
  end
  for rival in pairs(rivals) do
    room = room - (hinted[rival] or 0)
  end
  return room
end

-- The same without the hints that are sent ahead, and without the threads that wait for receivers
-- of webhooks: what a job that is taken now finds free.
local function free_for(queue)
  local free = room_for(queue) - redis.call('ZCARD', K.deliveries_out)
  for _, pool in ipairs(pools) do
    if pool.queues[queue] then
      free = free - pool.ahead
    end
  end
  return math.max(0, free)
end

local served = {} -- queues of which no tenant may have more now

local function can_take(queue)
  return not served[queue] and room_for(queue) > 0 and redis.call('EXISTS', K.tenant_ring .. queue) == 1
end

-- Interactive before bulk, but every tenth place goes to waiting bulk.
local function next_queue()
  local first, second = K.queue_interactive, K.queue_bulk
  if (turn % 10 == 9) ~= (risky_lanes % 2 == 1) then
    first, second = K.queue_bulk, K.queue_interactive
  end
  if can_take(first) then
    return first
  end
  return can_take(second) and second or nil
end

-- Tenants in turn, and the lanes of each in turn.
local function next_lane(queue)
  local tenants = K.tenant_ring .. queue
  local tenant = redis.call('LMOVE', tenants, tenants, 'LEFT', 'RIGHT')
  local lanes = K.lane_ring .. queue .. ':' .. tenant
  return redis.call('LMOVE', lanes, lanes, 'LEFT', 'RIGHT')
end

-- What was taken in this look: jobs by queue, tenant and model. All are counted at its end.
local taken_of, taken = { queue = {}, tenant = {}, model = {} }, 0

local function count_taken(queue, tenant, model)
  taken = taken + 1
  for kind, name in pairs({ queue = queue, tenant = tenant, model = model }) do
    taken_of[kind][name] = (taken_of[kind][name] or 0) + 1
  end
end

local function write_taken()
  if taken == 0 then
    return
  end
  redis.call('HINCRBY', K.counts, State.QUEUED, -taken)
  redis.call('HINCRBY', K.counts, State.HINTED, taken)
  redis.call('HINCRBY', K.dispatcher, 'turn', taken)
  for queue, jobs in pairs(taken_of.queue) do
    redis.call('HINCRBY', K.hinted, queue, jobs)
  end
  for tenant, jobs in pairs(taken_of.tenant) do
    redis.call('HINCRBY', K.tenant_unsent, tenant, jobs)
  end
  for model, jobs in pairs(taken_of.model) do
    redis.call('HINCRBY', K.rate_limit .. model, 'at_hand', jobs)
    redis.call('PERSIST', K.rate_limit .. model)
  end
end

-- Claimed jobs wait for what their tenant chose: a slow host, a picture that takes
-- long to decode. While there are several tenants, one has at most TIMES_FREE of them for each slot that
-- stays free, as in visionq/fair_limiter.py; calls that are out take their turns at the provider.
local TIMES_FREE = 3
local SHARED_FOR = 86400000 -- ms since two tenants had jobs taken

local last_tenant, shared_until = unpack(redis.call('HMGET', K.dispatcher, 'tenant', 'shared_until'))
shared_until = tonumber(shared_until or 0)

local function leaves_too_little(tenant, queue)
  if tenant ~= last_tenant then
    shared_until = last_tenant and now + SHARED_FOR or 0
    redis.call('HSET', K.dispatcher, 'tenant', tenant, 'shared_until', at(shared_until))
    last_tenant = tenant
  end
  if now >= shared_until then
    return false
  end
  local unsent = tonumber(redis.call('HGET', K.tenant_unsent, tenant) or 0) + (taken_of.tenant[tenant] or 0)
  return unsent > 0 and unsent >= TIMES_FREE * free_for(queue)
end

-- No more of a model is taken than it can soon be asked.
local paces, rooms = {}, {}

local function exceeds_rate_limit(lane)
  local model = model_of(lane)
  local scope = 'pace:' .. model
  if redis.call('HEXISTS', K.holds, scope) == 1 then
    return scope
  end
  local rate_limit = paces[model] or read_rate_limit(model)
  paces[model] = rate_limit
  rooms[model] = rooms[model] or rate_limit.is_limited and room_in_rate_limit(rate_limit) or math.huge
  if rooms[model] <= 0 then
    local free = free_at(rate_limit, times_of(rate_limit, 0))
    hold(scope, DelayReason.RATE_LIMITED, math.max(now + RECHECK, free - rate_limit.horizon))
    return scope
  end
end

-- A trial is made by the job that has risked least: of those at the head of their lanes, one whose
-- calls are all known.
local function is_too_risky(lane)
  if not (is_out or paces[model_of(lane)].step) then
    return false
  end
  local head = redis.call('LRANGE', K.lane .. lane, 0, 0)[1]
  if tonumber(redis.call('HGET', K.job .. head, 'unknown_calls') or 0) <= bearable_risk then
    return false
  end
  risky_lanes = risky_lanes + 1
  if risky_lanes % MOST_RISKY_LANES == 0 then
    bearable_risk = bearable_risk + 1
  end
  return true
end

-- Returns how many looks it took: setting a job aside is more work than sending its hint.
local function take(lane)
  local scope = held_by(lane) or exceeds_rate_limit(lane)
  if scope then
    hold_lane(lane, scope)
    return 1
  end
  if is_too_risky(lane) then
    return 1
  end
  local id = redis.call('LPOP', K.lane .. lane)
  local job = K.job .. id
  local state, its_lane, batch, pictures, fallback = unpack(
    redis.call('HMGET', job, 'state', 'lane', 'batch', 'pictures', 'fallback')
  )
  if state ~= State.QUEUED or its_lane ~= lane then
    return 1 -- it ended in the lane, and its id may since have come back in another
  end
  leave_lane(lane)
  if fallback then
    redis.call('ZREM', K.fallback_jobs .. model_of(lane), id)
  end
  local short_of, needed, state_of_one_short = lacks_budget(job, lane, batch, asked.today)
  if short_of then
    wait_for_budget(id, job, State.QUEUED, short_of, needed, state_of_one_short)
    return 3
  end
  local queue, tenant, model = split_lane(lane)
  redis.call('HSET', job, 'state', State.HINTED, 'taken', at(now), 'hints', 1)
  count_taken(queue, tenant, model)
  rooms[model] = rooms[model] - 1
  hinted[queue] = hinted[queue] + 1
  turn = turn + 1
  hint(id, lane, pictures, 1)
  return 1
end

local function end_holds()
  local over = redis.call('ZRANGEBYSCORE', K.hold_ends, '-inf', at(now), 'LIMIT', 0, 100)
  local rejoined = 0
  for _, scope in ipairs(over) do
    rejoined = rejoined + reopen(scope)
    if rejoined >= MOST_REJOINED then
      return -- `reopen` has woken the next look
    end
  end
end

-- How few hints may lie ahead before the end of a job wakes the dispatcher (finish_plain.lua).
local function note_low_water()
  local ahead = 0
  for _, pool in ipairs(pools) do
    ahead = ahead + pool.ahead
  end
  local now_low = at(math.floor(ahead / 2))
  if now_low ~= low then
    redis.call('HSET', K.dispatcher, 'low', now_low)
  end
end

local function take_next()
  read_pools()
  note_low_water()
  local looks, passed_over = 0, 0
  while #hints < asked.limit and looks < asked.limit do
    local queue = next_queue()
    if not queue then
      return
    end
    local lane = next_lane(queue)
    if not leaves_too_little(tenant_of(lane), queue) then
      looks, passed_over = looks + take(lane), 0
    elseif passed_over >= redis.call('LLEN', K.tenant_ring .. queue) then
      served[queue], passed_over = true, 0
    else
      passed_over = passed_over + 1
    end
  end
  wake() -- there may be more
end

if now >= grace_until then
  forget_dead_workers()
end
end_holds()
look_at_due()
wake_some()
turn_day(asked.today)
look_at_budgets(asked.today)
local is_done, fault = pcall(take_next)
write_taken() -- also where a key is broken that comes behind them
if not is_done then
  error(fault)
end
return {
  hints,
  expired,
  look_at_deliveries(now >= grace_until, asked.broker_is_here, asked.first_wait, asked.longest_wait),
}
