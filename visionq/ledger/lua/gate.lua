-- include: core/base, gates/gates, gates/outages

-- What an operator, a balance that was topped up, an outage that lasts, or a batch that the provider
-- refused or took does to the gate of a key.
-- ARGV: now, id of the key, order (close | refuse | advance | reopen | open | postpone), reason
-- Returns the state before.

local gate, order, reason = K.gate .. ARGV[2], ARGV[3], ARGV[4]
local POSTPONED = 10000 -- ms: more than the watch takes from look to look
local standing = read_gate(gate)
local before = standing.state

if order == GateOrder.CLOSE then
  close_gate(gate, reason)
  redis.call('HDEL', gate, 'retry_at') -- no trial: the operator who closed it opens it
elseif order == GateOrder.REFUSE then
  if before ~= 'closed' then
    close_gate(gate, reason)
  end
elseif order == GateOrder.ADVANCE then
  pass_gate(gate, standing.epoch)
elseif order == GateOrder.OPEN then
  next_epoch(gate)
  open_gate(gate)
elseif order == GateOrder.POSTPONE then
  if before == 'closed' and standing.reason == OUTAGE and standing.retry_at then
    redis.call('HSET', gate, 'retry_at', at(math.max(standing.retry_at, now + POSTPONED)))
  end
elseif before == 'closed' then
  begin_reopening(gate)
end
return before
