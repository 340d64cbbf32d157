-- Puts a message into a queue of the broker, unless that was done before.
-- ARGV: now, key of the mark that it was sent, how long to keep that (s), key of the queue, message
-- Returns 'done' | 'known'

if not redis.call('SET', ARGV[2], '1', 'NX', 'EX', ARGV[3]) then
  return 'known'
end
redis.call('LPUSH', ARGV[4], ARGV[5])
return 'done'
