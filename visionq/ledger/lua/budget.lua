-- include: money/books

-- Sets, shows and lists budgets. ARGV: now, order (set | book | list), then for
--   set: scope, period, nano-rubles ('' for none), seconds that the book of a batch is kept that is
--     over or has not begun
--   book: scope, period, today's date
--   list: today's date, most scopes ('' for all): tenants first, for batches come and go
-- Returns for set 1; for book the values of ACCOUNTS and the limit; for list for each budget its
-- scope, its period, and the same.

local ACCOUNTS = { 'reserved', 'settled', 'unknown', 'saved', 'unknown_calls' }
local order, scope = ARGV[2], ARGV[3]

local function read_book(of_scope, period, day)
  local values = redis.call('HMGET', book_of(of_scope, period, day), unpack(ACCOUNTS))
  values[#values + 1] = redis.call('HGET', K.book .. of_scope, 'limit:' .. period)
  return values
end

local function set_limit(period, limit, kept)
  local book = K.book .. scope
  if limit == '' then
    redis.call('HDEL', book, 'limit:' .. period)
    if left_in(scope, '') == math.huge then
      redis.call('SREM', K.budgets, scope)
    end
  else
    redis.call('HSET', book, 'limit:' .. period, limit)
    redis.call('SADD', K.budgets, scope)
  end
  local batch = string.match(scope, '^batch:(.+)$')
  if batch then
    local left = redis.call('TTL', K.batch .. batch) -- -1: it is under way; -2: it is not there
    if left ~= -1 then
      redis.call('EXPIRE', book, left > 0 and left or kept)
    end
  end
  look_again(scope)
  return 1
end

local function list(day, most)
  local found, scopes = {}, redis.call('SMEMBERS', K.budgets)
  table.sort(scopes, function(one, other)
    return one > other
  end)
  for place, one in ipairs(scopes) do
    if place > most then
      break
    end
    for _, period in ipairs(PERIODS) do
      if redis.call('HEXISTS', K.book .. one, 'limit:' .. period) == 1 then
        found[#found + 1] = { one, period, read_book(one, period, day) }
      end
    end
  end
  return found
end

if order == 'set' then
  return set_limit(ARGV[4], ARGV[5], tonumber(ARGV[6]))
elseif order == 'book' then
  return read_book(scope, ARGV[4], ARGV[5])
end
return list(scope, tonumber(ARGV[4]) or math.huge)
