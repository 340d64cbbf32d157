-- include: core/base, gates/gates, jobs/moves, lanes/holds, rate_limit/limits

-- Outages: calls in a row that brought no word of the provider's own. The silence of a key closes its
-- gate; that of one model, while others are answered, rests that model. Either way one call at a time
-- tries, after ever longer pauses, until one is answered. What is known of a model is beside its
-- rate limit, for all keys: `silence`, `step` (how many calls may be out on trial) beside those
-- from before, `rest` (the last pause), whether it ever `answered`, and how often it was `missing`.

local OUTAGE = DelayReason.PROVIDER_UNAVAILABLE
-- A call of unknown billing counts twice, one that is known to have cost nothing once.
local ENOUGH_SILENCE = 10
local ENOUGH_STEPS = 32 -- calls that may be out: from here on a model is not on trial any more

-- Nothing is asked of the model for a while, then one call at a time. `length` is in ms; without one
-- each rest is twice as long as the last, until the model is off trial.
local function rest_model(model, reason, length)
  local key = K.rate_limit .. model
  local rest = tonumber(redis.call('HGET', key, 'rest') or 0)
  rest = rest == 0 and FIRST_TRIAL or math.min(rest * 2, LONGEST_PAUSE)
  put_on_trial(key)
  redis.call('HSET', key, 'rest', at(rest))
  redis.call('HDEL', key, 'silence')
  hold('model:' .. model, reason, now + (length or rest))
end

local function end_trial_of(model)
  redis.call('HDEL', K.rate_limit .. model, 'step', 'rest', 'rested', 'calls_before')
end

local function model_answered(job, model)
  local key = K.rate_limit .. model
  redis.call('HSET', key, 'answered', 1)
  redis.call('HDEL', key, 'silence', 'missing')
  local step = tonumber(redis.call('HGET', key, 'step') or nil)
  if not step or is_from_before(job, model) then
    return
  elseif step * 2 >= ENOUGH_STEPS then
    end_trial_of(model)
  else
    redis.call('HSET', key, 'step', step * 2)
  end
  look_at_model_again(model)
end

-- The silence that is enough: while few calls may be out, as many of unknown billing.
local function enough_for(step)
  return step and math.min(ENOUGH_SILENCE, 2 * step) or ENOUGH_SILENCE
end

local function rests_for_outage(standing, epoch)
  return standing.reason == OUTAGE and (standing.state == 'closed' or tonumber(epoch) ~= standing.epoch)
end

-- A call came back without a word. Returns whether the provider, or the model, is known to be out.
-- `gives_up`: the job would not call again, and nothing was answered between its last two calls.
local function record_silence(job, model, gate, epoch, points, gives_up)
  local standing, key = read_gate(gate), K.rate_limit .. model
  if rests_for_outage(standing, epoch) or redis.call('HGET', K.holds, 'model:' .. model) == OUTAGE then
    return true
  elseif standing.state == 'closed' then
    return false -- for a reason of its own, which says enough
  end
  local is_trial = standing.state == 'reopening' and standing.reason == OUTAGE
  local passes = redis.call('HGET', gate, 'passes') or '0'
  gives_up = gives_up and redis.call('HGET', job, 'silent:' .. gate) == passes
  redis.call('HSET', job, 'silent:' .. gate, passes)
  local silence = redis.call('HINCRBY', gate, 'silence', points)
  if silence >= enough_for(is_trial and standing.step) or gives_up then
    close_gate(gate, OUTAGE)
    redis.call('HDEL', gate, 'silence')
    redis.call('HDEL', key, 'silence')
    return true
  end
  local step = tonumber(redis.call('HGET', key, 'step') or nil)
  if not is_from_before(job, model) and redis.call('HINCRBY', key, 'silence', points) >= enough_for(step) then
    rest_model(model, OUTAGE)
    return true
  end
  return is_trial or step ~= nil
end

-- The provider says that it does not know the model. One that never answered, and is denied again
-- after a rest, is missing: its jobs need not ask. Else the answer concerns the asking job alone.
local function record_missing_model(job, gate, lane, document)
  local model = model_of(lane)
  local key = K.rate_limit .. model
  if is_from_before(job, model) then
    return
  end
  local times = redis.call('HINCRBY', key, 'missing', 1)
  if times > 1 and redis.call('HEXISTS', key, 'answered') == 0 then
    redis.call('SET', missing_model(gate, lane), document, 'EX', MODEL_IS_MISSING_FOR)
    end_trial_of(model)
    look_at_model_again(model)
  else
    rest_model(model, DelayReason.MODEL_NOT_FOUND)
  end
end
