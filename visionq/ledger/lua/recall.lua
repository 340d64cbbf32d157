-- include: core/base, jobs/moves

-- Gives lines of a batch back into the packer's hands, which then writes what came of each by `finish`.
-- ARGV: now, batch, worker, pool, lease (ms), then for each line: job, token
-- Returns for each, as JSON, what a claim returns, or only the job's `state` where the money of the line
-- is done with. A job that was cancelled meanwhile keeps its state.

local batch, worker, pool, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local function take(id, job, token)
  move(job, State.WAITING, State.IN_PROGRESS)
  redis.call('HINCRBY', K.pool_busy, pool, 1)
  redis.call('HSET', job, 'token', token, 'worker', worker, 'pool', pool, 'line', batch)
  redis.call('ZADD', K.due, at(now + lease), id)
end

local function recall(id, token)
  local job = K.job .. id
  local was = read(
    job, 'state', 'sent', 'token', 'line', 'document', 'submitted', 'attempts', 'waits', 'unknown_calls', 'excused', 'lapses',
    'cost', 'faulty', 'trace', 'by'
  )
  if was.sent ~= token then
    return { state = was.state or State.MISSING }
  end
  if was.state == State.WAITING and was.line == batch then
    take(id, job, token)
  elseif was.state == State.IN_PROGRESS and was.token == token then
    redis.call('ZADD', K.due, at(now + lease), id)
  end
  was.unknown_calls = math.max(0, (was.unknown_calls or 0) - (was.excused or 0))
  was.now = at(now)
  return was
end

local found = {}
for i = 6, #ARGV, 2 do
  found[#found + 1] = cjson.encode(recall(ARGV[i], ARGV[i + 1]))
end
return found
