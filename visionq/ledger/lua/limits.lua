-- include: core/base

-- What the operator, or the environment of the workers, says of a model's limits.
-- ARGV: now, who says it (operator | environment), then for each model: its name ('*' for all that
--   no own limits), limits (JSON, '' for none any more)
-- What was learned of the model is forgotten: it was learned under other limits.

for i = 3, #ARGV, 2 do
  local model, limits = ARGV[i], ARGV[i + 1]
  local entry = ARGV[2] .. ':' .. model
  local before = redis.call('HGET', K.limits, entry) or ''
  if limits == '' then
    redis.call('HDEL', K.limits, entry)
  else
    redis.call('HSET', K.limits, entry, limits)
  end
  if before ~= limits or ARGV[2] == 'operator' then
    redis.call(
      'HDEL', K.rate_limit .. model,
      'ceiling', 'usual',
      'told_requests', 'told_tokens', 'next', 'requests_at', 'tokens_at'
    )
  end
end
for _, scope in ipairs(redis.call('HKEYS', K.holds)) do
  if string.sub(scope, 1, 5) == 'pace:' then
    redis.call('ZADD', K.hold_ends, 'XX', at(now), scope)
  end
end
wake()
return 'done'
