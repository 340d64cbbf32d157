-- include: core/base, jobs/moves

-- Claims: a job in a worker's hands, under a token and a lease.

-- What a worker needs to know of a job that it takes.
local function read_claimed(job)
  local known = read(
    job, 'state', 'lane', 'token', 'version', 'sent', 'line', 'document', 'submitted', 'attempts', 'waits',
    'unknown_calls', 'excused', 'interrupted', 'lapses', 'cost', 'faulty', 'trace', 'tier', 'model', 'steps', 'deadline',
    'defaulted'
  )
  known.now = at(now)
  return known
end

-- Returns names and values in turn, without what is not there.
local function as_fields(known)
  local reply = {}
  for name, value in pairs(known) do
    if value then
      reply[#reply + 1] = name
      reply[#reply + 1] = value
    end
  end
  return reply
end

-- What follows are fields of the job, with their values.
local function take_slot(id, job, from, lease, token, worker, pool, ...)
  move(job, from, State.IN_PROGRESS, 'token', token, 'worker', worker, 'pool', pool, ...)
  redis.call('HINCRBY', K.pool_busy, pool, 1)
  redis.call('ZADD', K.due, at(now + lease), id)
end
