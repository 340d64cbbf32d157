-- include: core/base, metrics/counters

-- What happened, for those who watch: the stream of jobs' events and that of operators' notices.

-- `kept` is about how many events stay. `is_of_batch`: it tells nothing of how fast the online lane is.
local function emit_event(id, state, reason, kept, is_of_batch)
  if not TERMINAL[state] then -- the end is counted by `conclude`, with more to say of it
    count('delayed|' .. state .. '|' .. (string.match(reason, '^[a-z_]+$') or 'other'))
  end
  local most = kept or 10000
  local fields = { 'id', id, 'state', state, 'reason', reason }
  if is_of_batch then
    fields[7], fields[8] = 'lane', 'batch'
  end
  redis.call('XADD', K.events, 'MAXLEN', '~', most, '*', unpack(fields))
end

-- For the operator, not for the job's owner.
local function notify_operator(subject, state, reason)
  redis.call('XADD', K.notices, 'MAXLEN', '~', 1000, '*', 'subject', subject, 'state', state, 'reason', reason)
end
