-- include: core/base, core/events, lanes/lanes

-- The gate in front of the provider, one for each key: open, closed for a reason, or reopening in
-- steps. Its epoch tells calls that were sent before it reopened from those sent since.

local FIRST_TRIAL = 5000 -- ms until the first trial, doubled by each trial that fails …
local LONGEST_PAUSE = 60000 -- … up to this
local ENOUGH_SUCCESSES = 20 -- calls that must pass before the pauses begin small again

-- A pool is `queues@key`: workers that serve the same queues with the same key.
local function gate_of(pool)
  return K.gate .. (string.match(pool, '@(.*)$') or '')
end

local MODEL_IS_MISSING_FOR = 60 -- seconds

-- What the provider said of a model that it does not know is known to all workers with the key.
local function missing_model(gate, lane)
  local _, _, model = split_lane(lane)
  return K.missing_model .. string.sub(gate, #K.gate + 1) .. ':' .. model
end

local function read_gate(gate)
  local its = read(gate, 'state', 'reason', 'epoch', 'step', 'calls_out', 'calls_before', 'retry_at', 'passes', 'silence')
  return {
    key = gate,
    state = its.state or 'open',
    reason = its.reason or '',
    epoch = tonumber(its.epoch or 0),
    step = tonumber(its.step or 0),
    calls_out = tonumber(its.calls_out or 0),
    calls_before = tonumber(its.calls_before or 0),
    retry_at = tonumber(its.retry_at or nil),
    passes = tonumber(its.passes or 0),
    silence = its.silence,
  }
end

-- How many calls more may go out: none while the gate is closed, a step's worth while it reopens.
-- Those that are out since before the reopening take no place: one that hangs must not stop it.
local function calls_left(gate)
  if gate.state == 'open' then
    return math.huge
  end
  return gate.state == 'closed' and 0 or gate.step - (gate.calls_out - gate.calls_before)
end

-- How many jobs more the workers with this key may take.
local function jobs_left(key, gate)
  if gate.state ~= 'reopening' then
    return calls_left(gate)
  end
  local busy, pools = 0, redis.call('HGETALL', K.pool_busy)
  for i = 1, #pools, 2 do
    if gate_of(pools[i]) == key then
      busy = busy + tonumber(pools[i + 1])
    end
  end
  return gate.step - math.max(0, busy - gate.calls_before)
end

-- What is sent from now on tells how the key fares now; what is out already does not.
local function next_epoch(gate)
  redis.call('HINCRBY', gate, 'epoch', 1)
  redis.call('HSET', gate, 'calls_before', redis.call('HGET', gate, 'calls_out') or 0)
end

local function call_left_gate(gate, epoch)
  redis.call('HINCRBY', gate, 'calls_out', -1)
  if epoch ~= (redis.call('HGET', gate, 'epoch') or '0') then
    redis.call('HINCRBY', gate, 'calls_before', -1)
  end
end

-- Tells the operator what is new. A trial that is refused is not: the gate was closed before.
local function announce(gate, state, reason)
  if (redis.call('HGET', gate, 'announced') or 'open') ~= state then
    redis.call('HSET', gate, 'announced', state)
    notify_operator(gate, state, reason)
  end
end

-- `needed` is what the refused call might have cost, in nano-rubles.
local function close_gate(gate, reason, needed)
  local pause = tonumber(redis.call('HGET', gate, 'pause') or 0)
  pause = pause == 0 and FIRST_TRIAL or math.min(pause * 2, LONGEST_PAUSE)
  redis.call(
    'HSET', gate, 'state', 'closed', 'reason', reason, 'since', at(now),
    'pause', pause, 'retry_at', at(now + pause), 'step', 0, 'successes', 0, 'needed', needed or '0'
  )
  announce(gate, 'closed', reason)
end

-- One call at a time, then two, four …: `pass_gate` takes the steps.
local function begin_reopening(gate)
  next_epoch(gate)
  redis.call('HSET', gate, 'state', 'reopening', 'since', at(now), 'step', 1, 'successes', 0)
  wake()
end

local function open_gate(gate)
  redis.call('HSET', gate, 'state', 'open', 'since', at(now), 'pause', 0)
  redis.call('HDEL', gate, 'reason', 'step', 'successes', 'retry_at', 'silence')
  announce(gate, 'open', '')
  wake()
end

-- A call came back paid: the key works, if the call is not from before the gate closed.
local function pass_gate(gate, epoch)
  local standing = read_gate(gate)
  if standing.state == 'closed' or standing.epoch ~= tonumber(epoch) then
    return
  end
  redis.call('HINCRBY', gate, 'passes', 1)
  if standing.state == 'open' then
    return
  end
  announce(gate, 'reopening', '')
  redis.call('HSET', gate, 'step', math.min(standing.step * 2, 1000000))
  if redis.call('HINCRBY', gate, 'successes', 1) >= ENOUGH_SUCCESSES then
    open_gate(gate)
  end
end

-- A call was refused for the key's sake. Returns true if it is the job that is refused: not for the
-- first time by this key, which has let others pass since.
local function refuse_at_gate(gate, epoch, job, reason, needed)
  local standing = read_gate(gate)
  if epoch and tonumber(epoch) ~= standing.epoch then
    return false -- it tells nothing of the time since the reopening
  end
  local passes = redis.call('HGET', gate, 'passes') or '0'
  local passes_then = redis.call('HGET', job, 'refused:' .. gate)
  redis.call('HSET', job, 'refused:' .. gate, passes)
  if passes_then and tonumber(passes_then) < tonumber(passes) then
    return true
  end
  if standing.state ~= 'closed' then
    close_gate(gate, reason, needed)
  end
  return false
end
