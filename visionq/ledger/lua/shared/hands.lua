-- Jobs at hand: taken from their lanes and not sent yet, counted for each model. Whatever way a job
-- takes out of the workers' hands, it goes through `move`.

local function model_of(lane)
  return string.match(lane, '^[^:]+:[^:]+:(.+)$')
end

local function take_in_hand(job, lane)
  redis.call('HSET', job, 'taken', at(now))
  redis.call('HINCRBY', K.pace .. model_of(lane), 'at_hand', 1)
end

local function leave_hand(job)
  local taken, lane = unpack(redis.call('HMGET', job, 'taken', 'lane'))
  if taken then
    redis.call('HDEL', job, 'taken', 'permit')
    redis.call('HINCRBY', K.pace .. model_of(lane), 'at_hand', -1)
  end
end

local function move(job, from, to)
  redis.call('HINCRBY', K.counts, from, -1)
  redis.call('HINCRBY', K.counts, to, 1)
  redis.call('HSET', job, 'state', to)
  if to ~= 'hinted' and to ~= 'in_progress' then
    leave_hand(job)
  end
end
