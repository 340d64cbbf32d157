-- include: core/base, jobs/further_models, jobs/moves, lanes/lanes

-- Has queued jobs whose model is held for long asked of their fallback.
-- ARGV: now, most jobs of each model
-- Returns how many went

local PATIENCE = 15000 -- ms that a job waits for a held model
local most = tonumber(ARGV[2])

local function is_away(model)
  local scope = 'model:' .. model
  if redis.call('HEXISTS', K.holds, scope) == 0 then
    return false
  end
  local ends = redis.call('ZSCORE', K.hold_ends, scope)
  return not ends or ends - now > PATIENCE
end

-- One whose billing is unknown stays, and so do one whose answer came late, which is paid, and one that
-- all its models hold back.
local function leave(id, model)
  local job = K.job .. id
  local state, lane, unknown_calls, late_answer = unpack(
    redis.call('HMGET', job, 'state', 'lane', 'unknown_calls', 'late_answer')
  )
  if state ~= State.QUEUED or model_of(lane) ~= model then
    redis.call('ZREM', K.fallback_jobs .. model, id)
    return 0
  end
  local to, is_served = first_served(fallback_of(job))
  if not is_served or late_answer or tonumber(unknown_calls or 0) > 0 then
    redis.call('ZADD', K.fallback_jobs .. model, 'XX', at(now), id) -- others go first in the next round
    return 0
  end
  leave_lane(lane)
  redis.call('ZREM', K.fallback_jobs .. model, id)
  change_model(id, job, to, redis.call('HGET', K.holds, 'model:' .. model))
  enter_lane(id, job, redis.call('HGET', job, 'lane'), 'RPUSH')
  return 1
end

local went, models = 0, redis.call('SMEMBERS', K.fallback_models)
table.sort(models)
for _, model in ipairs(models) do
  local jobs = K.fallback_jobs .. model
  if redis.call('EXISTS', jobs) == 0 then
    redis.call('SREM', K.fallback_models, model)
  elseif is_away(model) then
    for _, id in ipairs(redis.call('ZRANGE', jobs, 0, most - 1)) do
      went = went + leave(id, model)
    end
  end
end
if went > 0 then
  wake()
end
return went
