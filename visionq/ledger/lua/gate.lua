-- What an operator, or a balance that was topped up, does to the gate of a key.
-- ARGV: now, id of the key, order (close | reopen | open), reason
-- Returns the state before.

local gate, order, reason = K.gate .. ARGV[2], ARGV[3], ARGV[4]
local before = read_gate(gate).state

if order == 'close' then
  close_gate(gate, reason)
  redis.call('HDEL', gate, 'retry_at') -- no trial: whoever closed it opens it
elseif order == 'open' then
  next_epoch(gate)
  open_gate(gate)
elseif before == 'closed' then
  begin_reopening(gate)
end
return before
