-- Keeps a job from being called again: Redis refused to write what came of its call, so nobody knows
-- whether that was paid. Nothing but the job itself is touched, as any other key may be what is wrong.
-- ARGV: now, id, token of the call. The mark goes by `finish` for the same token, or by a person.

local job = K.job .. ARGV[2]
if redis.call('EXISTS', job) == 1 then
  redis.call('HSET', job, 'refused', ARGV[3])
end
