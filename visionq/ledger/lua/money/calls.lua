-- include: core/base, metrics/counters, money/books

-- Money of calls: reserved when one is sent, then settled, released, or unknown. Each step posts
-- first: if Redis refuses that, nothing is written, and else nothing is refused that follows.

local MOST_UNKNOWN = 10000 -- calls that are listed; all of them are counted

local MONEY_DAYS_KEPT = 40

-- Calls of unknown billing for one question, of whichever jobs: as many as one job may make.
local MOST_UNCLEAR = 3
local UNCLEAR_KEPT = 7 * 86400 -- s

-- Notes on a day what was settled or saved on it.
local function book_on(day, account, amount)
  if increase(K.money_of_day .. day, account, amount) == tonumber(amount) then
    redis.call('EXPIRE', K.money_of_day .. day, MONEY_DAYS_KEPT * 86400)
  end
end

-- Its entry in the list of calls of unknown billing, readable when the job has expired: id, token,
-- amount, scopes, and the day of its books as `day:DATE`.
local function entry_of(id, token, amount, scopes, day)
  local entry = { id, token, amount, unpack(scopes) }
  entry[#entry + 1] = day and 'day:' .. day or nil
  return table.concat(entry, ' ')
end

local function unknown_entry(job, token, amount, day)
  return entry_of(string.sub(job, #K.job + 1), token, amount, scopes_of(job), day)
end

local function list_unknown(entry)
  redis.call('ZADD', K.unknown_calls, at(now), entry)
  redis.call('ZREMRANGEBYRANK', K.unknown_calls, 0, -1 - MOST_UNKNOWN)
end

local CALLS_KEPT_CLOSED = 3600000 -- ms, in which the end of a call may be told again

-- The money of a call is done with, and its job is gone.
local function close_call(token)
  redis.call('ZREMRANGEBYSCORE', K.closed_calls, '-inf', at(now - CALLS_KEPT_CLOSED))
  redis.call('ZADD', K.closed_calls, 'NX', at(now), token)
end

local function reserve_money(job, token, amount, day)
  post(job, day, { reserved = amount }, true)
  redis.call('HSET', job, 'sent', token, 'reserved', amount, 'day:' .. token, day)
end

-- Counts a call of unknown billing for its question; those that wait for that go on when one is known.
local function count_unclear(job, token, by)
  local question = redis.call('HGET', job, 'asks:' .. token)
  if not question then
    return
  end
  if redis.call('INCRBY', K.unclear .. question, by) > 0 then
    redis.call('EXPIRE', K.unclear .. question, UNCLEAR_KEPT)
  else
    redis.call('DEL', K.unclear .. question)
  end
  if by < 0 then
    redis.call('HDEL', job, 'asks:' .. token)
    if redis.call('EXISTS', K.followers .. question) == 1 then
      redis.call('ZADD', K.waking, 'NX', at(now), question)
      wake()
    end
  end
end

-- A call was sent and its end is not known: what was reserved for it may have been spent.
-- Returns the token of the call, or false if none was out.
local function sent_becomes_unknown(job)
  local token, reserved = unpack(redis.call('HMGET', job, 'sent', 'reserved'))
  if not token then
    return false
  end
  local day = redis.call('HGET', job, 'day:' .. token)
  post(job, day, { reserved = negative(reserved), unknown = reserved, unknown_calls = 1 })
  redis.call('HDEL', job, 'sent', 'reserved')
  redis.call('HINCRBY', job, 'unknown_calls', 1)
  redis.call('HSET', job, 'unknown:' .. token, reserved)
  list_unknown(unknown_entry(job, token, reserved, day))
  count_unclear(job, token, 1)
  return token
end

-- A call was sent whose mark Redis has lost: what it may have cost stays open all the same.
local function unmarked_becomes_unknown(job, token, amount, day)
  post(job, day, { unknown = amount, unknown_calls = 1 }, true)
  redis.call('HSET', job, 'unknown:' .. token, amount, 'day:' .. token, day)
  redis.call('HINCRBY', job, 'unknown_calls', 1)
  list_unknown(unknown_entry(job, token, amount, day))
end

-- The call that was out has come back: `cost` is '0' where nothing was paid.
local function close_sent(job, token, cost)
  local reserved, day = unpack(redis.call('HMGET', job, 'reserved', 'day:' .. token))
  post(job, day, { reserved = negative(reserved), settled = cost })
  redis.call('HDEL', job, 'sent', 'reserved', 'day:' .. token, 'asks:' .. token)
end

-- It is known at last what a call of unknown billing cost.
local function close_unknown(job, token, amount, cost)
  local day = redis.call('HGET', job, 'day:' .. token)
  post(job, day, { unknown = negative(amount), unknown_calls = -1, settled = cost })
  redis.call('ZREM', K.unknown_calls, unknown_entry(job, token, amount, day))
  redis.call('HDEL', job, 'unknown:' .. token, 'day:' .. token)
  redis.call('HINCRBY', job, 'unknown_calls', -1)
  count_unclear(job, token, -1)
end
