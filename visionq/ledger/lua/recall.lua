-- include: core/base, jobs/claims

-- Gives lines of a batch back into the packer's hands, which then writes what came of each by `finish`.
-- ARGV: now, batch, worker, pool, lease (ms), then for each line: job, token
-- Returns for each what a claim returns, or only the job's `state` where the money of the line is done
-- with. A job that was cancelled meanwhile keeps its state.

local batch, worker, pool, lease = unpack(ARGV, 2, 5)

local function recall(id, token)
  local job = K.job .. id
  local known = read_claimed(job)
  if known.sent ~= token then
    return as_fields({ state = known.state or State.MISSING })
  end
  if known.state == State.WAITING and known.line == batch then
    take_slot(id, job, State.WAITING, lease, token, worker, pool, 'line', batch)
  elseif known.state == State.IN_PROGRESS and known.token == token then
    redis.call('ZADD', K.due, at(now + lease), id)
  end
  return as_fields(known)
end

local found = {}
for i = 6, #ARGV, 2 do
  found[#found + 1] = recall(ARGV[i], ARGV[i + 1])
end
return found
