-- include: jobs/batch_lane, jobs/moves, lanes/lanes, metrics/labels

-- Further models: a job that goes on to another of the models that it names. Of a fallback the job keeps
-- those that were not asked as `fallback`, in order; `model` is the one that it is asked of, if not its
-- first, and `steps` what came of those before, as JSON objects with commas between.

-- The first that nothing holds, else the first.
local function first_served(models)
  for _, model in ipairs(models) do
    if redis.call('HEXISTS', K.holds, 'model:' .. model) == 0 then
      return model, true
    end
  end
  return models[1], false
end

local function fallback_of(job)
  local models = {}
  for model in string.gmatch(redis.call('HGET', job, 'fallback') or '', '%S+') do
    models[#models + 1] = model
  end
  return models
end

-- The job is in nobody's hands, or in those of a worker that is letting it go. What it brought from the
-- model before means nothing to the next one. `answer` is what that one said, as JSON.
local function change_model(id, job, to, reason, answer)
  uncount_unsent(job)
  local online = leave_batch_lane(id, job)
  local queue, tenant, model = split_lane(online or redis.call('HGET', job, 'lane'))
  local steps, cost, attempts = unpack(redis.call('HMGET', job, 'steps', 'cost', 'attempts'))
  local step = string.format(
    '{"model":%s,"reason":%s,"cost":%s,"attempts":%s%s}', cjson.encode(model), cjson.encode(reason), cost or '0',
    attempts or '0', answer and ',"answer":' .. answer or ''
  )
  local left = {}
  for _, one in ipairs(fallback_of(job)) do
    left[#left + 1] = one ~= to and one or nil
  end
  redis.call('HDEL', job, 'fallback', 'faulty', 'late_answer', 'waits', 'tier')
  if #left > 0 then
    redis.call('HSET', job, 'fallback', table.concat(left, ' '))
  end
  local lane, label = queue .. ':' .. tenant .. ':' .. model, label_for('model', to, MOST_MODELS)
  count_for(lane, 'moved|{model}|' .. label .. '|' .. (string.match(reason, '^[a-z_]+$') or 'other'))
  redis.call(
    'HSET', job, 'lane', queue .. ':' .. tenant .. ':' .. to, 'model', to, 'steps', steps and steps .. ',' .. step or step
  )
end
