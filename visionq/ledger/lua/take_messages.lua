-- Takes messages from queues of Celery, the oldest of each first.
-- ARGV: how many at most, then the lists in the order in which they are served
-- Returns {list, message, list, message, …}

local taken, left = {}, tonumber(ARGV[1])
for i = 2, #ARGV do
  local messages = left > 0 and redis.call('RPOP', ARGV[i], left) or {}
  for _, message in ipairs(messages) do
    taken[#taken + 1] = ARGV[i]
    taken[#taken + 1] = message
  end
  left = left - #messages
end
return taken
