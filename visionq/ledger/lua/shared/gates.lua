-- The gate in front of the provider, one for each key: open, closed for a reason, or reopening in
-- steps. Its epoch tells calls that were sent before it reopened from those sent since.

local FIRST_TRIAL = 5000 -- ms until the first trial, doubled by each trial that fails …
local LONGEST_PAUSE = 60000 -- … up to this
local ENOUGH_SUCCESSES = 20 -- calls that must pass before the pauses begin small again

-- A pool is `queues@key`: workers that serve the same queues with the same key.
local function gate_of(pool)
  return K.gate .. (string.match(pool, '@(.*)$') or '')
end

local function read_gate(gate)
  local state, reason, epoch, step, calls_out, retry_at = unpack(
    redis.call('HMGET', gate, 'state', 'reason', 'epoch', 'step', 'calls_out', 'retry_at')
  )
  return {
    state = state or 'open',
    reason = reason or '',
    epoch = tonumber(epoch or 0),
    step = tonumber(step or 0),
    calls_out = tonumber(calls_out or 0),
    retry_at = tonumber(retry_at or 0),
  }
end

-- `needed` is what the refused call might have cost, in nano-rubles.
local function close_gate(gate, reason, needed)
  local pause = tonumber(redis.call('HGET', gate, 'pause') or 0)
  pause = pause == 0 and FIRST_TRIAL or math.min(pause * 2, LONGEST_PAUSE)
  redis.call(
    'HSET', gate, 'state', 'closed', 'reason', reason, 'since', at(now),
    'pause', pause, 'retry_at', at(now + pause), 'step', 0, 'successes', 0, 'needed', needed or '0'
  )
  notice(gate, 'closed', reason)
end

-- One call at a time, then two, four …: `pass_gate` takes the steps.
local function begin_reopening(gate)
  redis.call('HINCRBY', gate, 'epoch', 1)
  redis.call('HSET', gate, 'state', 'reopening', 'since', at(now), 'step', 1, 'successes', 0)
  notice(gate, 'reopening', '')
  wake()
end

local function open_gate(gate)
  redis.call('HSET', gate, 'state', 'open', 'since', at(now), 'pause', 0)
  redis.call('HDEL', gate, 'reason', 'step', 'successes', 'retry_at')
  notice(gate, 'open', '')
  wake()
end

-- A call came back paid: the key works.
local function pass_gate(gate)
  redis.call('HSET', gate, 'passed', at(now))
  local state, step = unpack(redis.call('HMGET', gate, 'state', 'step'))
  if state ~= 'reopening' then
    return
  end
  redis.call('HSET', gate, 'step', math.min(tonumber(step) * 2, 1000000))
  if redis.call('HINCRBY', gate, 'successes', 1) >= ENOUGH_SUCCESSES then
    open_gate(gate)
  end
end
