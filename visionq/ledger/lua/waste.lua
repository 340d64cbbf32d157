-- include: lanes/holds

-- The waste breaker of a tenant, as an operator sets it.
-- ARGV: now, order (set | clear | release), tenant, for set: most failures among paid answers in percent
-- What failed before a release counts no more. Returns 1 if it was stopped.

local order, tenant = ARGV[2], ARGV[3]
if order == 'set' then
  redis.call('HSET', K.tenant_waste_limits, tenant, ARGV[4])
  return 0
elseif order == 'clear' then
  redis.call('HDEL', K.tenant_waste_limits, tenant)
end
redis.call('DEL', K.tenant_waste .. tenant)
local scope = 'tenant:' .. tenant
if redis.call('HGET', K.holds, scope) ~= DelayReason.WASTE then
  return 0
end
reopen(scope)
return 1
