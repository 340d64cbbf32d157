-- include: core/base, jobs/moves, metrics/counters

-- Lanes: the backlog of one (queue, tenant, model). A lane is in its tenant's ring, and the
-- tenant in its queue's, while jobs are queued in it and nothing holds it.

local function split_lane(lane)
  return string.match(lane, '^([^:]+):([^:]+):(.+)$')
end

local function append_once(list, item)
  if not redis.call('LPOS', list, item) then
    redis.call('RPUSH', list, item)
  end
end

local function join_rings(lane)
  local queue, tenant = split_lane(lane)
  append_once(K.lane_ring .. queue .. ':' .. tenant, lane)
  append_once(K.tenant_ring .. queue, tenant)
end

local function leave_rings(lane)
  local queue, tenant = split_lane(lane)
  local ring = K.lane_ring .. queue .. ':' .. tenant
  redis.call('LREM', ring, 0, lane)
  if redis.call('EXISTS', ring) == 0 then
    redis.call('LREM', K.tenant_ring .. queue, 0, tenant)
  end
end

local function enter_lane(id, job, lane, push)
  redis.call(push, K.lane .. lane, id)
  local deadline, fallback = unpack(redis.call('HMGET', job, 'deadline', 'fallback'))
  if fallback then
    redis.call('ZADD', K.fallback_jobs .. model_of(lane), 'NX', at(now), id)
    redis.call('SADD', K.fallback_models, model_of(lane))
  end
  set_due(id, deadline)
  if redis.call('HINCRBY', K.lane_sizes, lane, 1) == 1 then
    count_of_tenant(K.tenant_lanes, lane, 1)
    join_rings(lane)
  end
end

-- Counts one job out of its lane. What is left in an empty lane's list are jobs that ended there.
local function leave_lane(lane)
  if redis.call('HINCRBY', K.lane_sizes, lane, -1) > 0 then
    return
  end
  redis.call('HDEL', K.lane_sizes, lane)
  count_of_tenant(K.tenant_lanes, lane, -1)
  redis.call('UNLINK', K.lane .. lane)
  leave_rings(lane)
end

-- Back into its lane, from whichever state it was in: at the head, unless `push` says otherwise.
local function requeue(id, job, from, push)
  count('requeued|' .. from)
  move(job, from, State.QUEUED)
  redis.call('HDEL', job, 'reason')
  enter_lane(id, job, redis.call('HGET', job, 'lane'), push or 'LPUSH')
end

