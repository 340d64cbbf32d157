-- include: core/base, lanes/lanes, metrics/counters, metrics/labels, money/books, money/calls

-- Records whether calls of unknown billing were paid, as an operator found out at the provider.
-- Should a call come back after all, its real cost replaces what was entered (finish.lua).
-- ARGV: now, today's date, `paid` or `unpaid`, nano-rubles that each of them cost ('' for the most
--   that it can be), then the calls, each as it is listed (unknown_entry)
-- Returns for each: settled | at_work (its job must rest before the call counts as paid: its worker
--   may be asking once more) | gone (its billing is not unknown, or not any more)

local today, is_paid, price = ARGV[2], ARGV[3] == 'paid', ARGV[4]

refuse_unless_whole(price)

-- The job has expired: of the call there is nothing but its entry.
local function settle_entry(entry, scopes, day, amount, cost)
  if redis.call('ZREM', K.unknown_calls, entry) == 0 then
    return 'gone'
  end
  post_to(scopes, day, { unknown = negative(amount), unknown_calls = -1, settled = cost })
  if is_paid then
    book_on(today, 'settled', cost)
    count('spent|other|other', cost)
  end
  return 'settled'
end

local function settle_call(id, job, token, amount, cost)
  local state, reason, interrupted, lane, day = unpack(
    redis.call('HMGET', job, 'state', 'reason', 'interrupted', 'lane', 'day:' .. token)
  )
  local is_unclear = state == State.PARKED and reason == DelayReason.BILLING_UNKNOWN
  if is_paid and not (TERMINAL[state] or is_unclear) then
    return 'at_work'
  end
  close_unknown(job, token, amount, cost)
  redis.call('HSET', job, 'said:' .. token, cost)
  if day then
    redis.call('HSET', job, 'day:' .. token, day)
  end
  if interrupted == token then
    redis.call('HDEL', job, 'interrupted')
  end
  if is_paid then
    book_on(today, 'settled', cost)
    increase(job, 'cost', cost)
    count_for(lane, 'spent|{tenant}|{model}', cost)
  elseif is_unclear and redis.call('HGET', job, 'unknown_calls') == '0' then
    redis.call('HDEL', job, 'refused')
    requeue(id, job, State.PARKED)
    wake()
  end
  return 'settled'
end

local function settle(entry)
  local words, scopes, day = {}, {}, nil
  for word in string.gmatch(entry, '%S+') do
    words[#words + 1] = word
  end
  local id, token, amount = words[1], words[2], words[3]
  for i = 4, #words do
    local date = string.match(words[i], '^day:(.+)$')
    if date then
      day = date
    else
      scopes[#scopes + 1] = words[i]
    end
  end
  local job, cost = K.job .. id, is_paid and (price == '' and amount or price) or '0'
  if redis.call('HGET', job, 'unknown:' .. token) == amount then
    return settle_call(id, job, token, amount, cost)
  end
  return settle_entry(entry, scopes, day, amount, cost)
end

local found = {}
for i = 5, #ARGV do
  found[#found + 1] = settle(ARGV[i])
end
return found
