-- include: core/events, jobs/moves, lanes/holds

-- The waste breaker of a tenant: its last paid answers, the newest first, '' for a good one and
-- `id nano-rubles code` for a failure. Where too many fail, the tenant is held until an operator
-- releases it. Calls that are out by then end as usual.

local WASTE_WINDOW = 50 -- paid answers that are looked at, as in a run (producer/run/waste.py)
local WASTE_LEAST = 20 -- fewer say nothing of a share

-- Counts the end of a job for which something was paid. `ttl`: seconds that it is remembered.
local function count_paid_end(id, job, lane, to, code, ttl)
  local tenant = tenant_of(lane)
  local percent = tonumber(redis.call('HGET', K.tenant_waste_limits, tenant) or nil)
  local cost = percent and redis.call('HGET', job, 'cost') or '0'
  if cost == '0' then
    return
  end
  local key, failed = K.tenant_waste .. tenant, 0
  if redis.call('LPUSH', key, to == State.FAILED and id .. ' ' .. cost .. ' ' .. code or '') > WASTE_WINDOW then
    redis.call('RPOP', key)
  end
  redis.call('EXPIRE', key, ttl)
  local ends, scope = redis.call('LRANGE', key, 0, -1), 'tenant:' .. tenant
  for _, entry in ipairs(ends) do
    failed = failed + (entry == '' and 0 or 1)
  end
  if #ends >= WASTE_LEAST and failed * 100 > percent * #ends and redis.call('HEXISTS', K.holds, scope) == 0 then
    hold(scope, DelayReason.WASTE)
    notify_operator('waste:' .. tenant, 'stopped', failed .. ' of ' .. #ends)
  end
end
