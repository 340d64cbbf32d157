-- include: core/base, core/events, lanes/lanes, metrics/counters

-- Books: what calls reserve, cost or may have cost, for each tenant (ever, and by day and month) and
-- for each batch. Amounts are integer nano-rubles, kept as text, added by Redis. A scope is
-- `tenant:NAME` or `batch:ID`; its budgets are in its own book as `limit:PERIOD`.

local PERIODS = { 'total', 'day', 'month' }
local DAY_KEPT, MONTH_KEPT = 40 * 86400, 400 * 86400 -- s
local LOW = 0.8 -- of a budget: from here on it is called low

local function negative(amount)
  return amount == '0' and '0' or '-' .. amount
end

-- `day` is a date as `2026-11-22`, where the operator lives.
local function book_of(scope, period, day)
  if period == 'day' then
    return K.book .. scope .. ':' .. day
  elseif period == 'month' then
    return K.book .. scope .. ':' .. string.sub(day, 1, 7)
  end
  return K.book .. scope
end

-- The scopes that a job is charged to: its batch, if it has one, and its tenant.
local function scopes_of_lane(lane, batch)
  local _, tenant = split_lane(lane)
  if batch then
    return { 'batch:' .. batch, 'tenant:' .. tenant }
  end
  return { 'tenant:' .. tenant }
end

local function scopes_of(job)
  return scopes_of_lane(unpack(redis.call('HMGET', job, 'lane', 'batch')))
end

-- Calls `visit(period, limit, book, settled and unknown, reserved)` for each budget of the scope.
local function each_budget(scope, day, visit)
  local limits = redis.call('HMGET', K.book .. scope, 'limit:total', 'limit:day', 'limit:month')
  for i, period in ipairs(PERIODS) do
    if limits[i] then
      local book = book_of(scope, period, day)
      local reserved, settled, unknown = unpack(
        redis.call('HMGET', book, 'reserved', 'settled', 'unknown')
      )
      visit(period, tonumber(limits[i]), book, (settled or 0) + (unknown or 0), tonumber(reserved or 0))
    end
  end
end

-- What the scope may take now, and what it may take once every call that is out has come back
-- unpaid. Whole numbers up to 2^53, nine million rubles, are compared to the nano-ruble.
local function left_in(scope, day)
  local room, headroom = math.huge, math.huge
  each_budget(scope, day, function(_, limit, _, used, reserved)
    headroom = math.min(headroom, limit - used)
    room = math.min(room, limit - used - reserved)
  end)
  return room, headroom
end

-- Notifies the operator once for each budget and period, and again after the budget changes.
local function tell_once(scope, state, period, limit, book, used)
  local told = book .. ' ' .. at(limit)
  if redis.call('HGET', K.book .. scope, state .. ':' .. period) ~= told then
    redis.call('HSET', K.book .. scope, state .. ':' .. period, told)
    notify_operator('budget:' .. scope, state, period .. ' ' .. at(used) .. ' ' .. at(limit))
  end
end

local function tell_if_low(scope, day)
  each_budget(scope, day, function(period, limit, book, used)
    if used > 0 and used >= limit * LOW then
      tell_once(scope, 'low', period, limit, book, used)
    end
  end)
end

local function tell_exhausted(scope, day, needed)
  each_budget(scope, day, function(period, limit, book, used)
    if used + needed > limit then
      tell_once(scope, 'exhausted', period, limit, book, used)
    end
  end)
end

-- Who waits for money may go on, or may have to give up: the dispatcher looks.
local function look_again(scope)
  if redis.call('HEXISTS', K.budget_waiter_counts, scope) == 1 then
    redis.call('ZADD', K.budget_looks, 'NX', at(now), scope)
    wake()
  end
end

-- `kept`: seconds for which a book that is opened by this is kept.
local function add_to_book(book, amounts, kept)
  for account, amount in pairs(amounts) do
    if increase(book, account, amount) == tonumber(amount) and kept then
      redis.call('EXPIRE', book, kept)
    end
  end
end

-- The books of a scope: of a batch one, of a tenant those of the day and of the month as well.
local function books_of(scope, day)
  local books = { K.book .. scope }
  if string.sub(scope, 1, 7) == 'tenant:' then
    books[2] = book_of(scope, 'day', day)
    books[3] = book_of(scope, 'month', day)
  end
  return books
end

-- Returns how many accounts are in each book; fails if one is of another kind.
local function sizes_of_books(scopes, day)
  local sizes = { [K.money] = redis.call('HLEN', K.money) }
  for _, scope in ipairs(day and scopes or {}) do
    for _, book in ipairs(books_of(scope, day)) do
      sizes[book] = redis.call('HLEN', book)
    end
  end
  return sizes
end

-- Fails if a key is of another kind that `post_to`, or who calls it, is going to write. Returns how
-- many accounts are in each book.
local function refuse_unless_bookable(scopes, day)
  local sizes = sizes_of_books(scopes, day)
  redis.call('HLEN', K.budget_waiter_counts)
  for _, key in ipairs({ K.unknown_calls, K.closed_calls, K.budget_looks, K.waking }) do
    redis.call('ZCARD', key)
  end
  redis.call('LLEN', K.wake)
  redis.call('XREVRANGE', K.notices, '-', '+') -- an empty range
  return sizes
end

local function add_to_books(scopes, day, sizes, amounts, opens)
  add_to_book(K.money, amounts)
  for _, scope in ipairs(day and scopes or {}) do
    for i, book in ipairs(books_of(scope, day)) do
      if opens or sizes[book] > 0 then
        add_to_book(book, amounts, i == 2 and DAY_KEPT or i == 3 and MONTH_KEPT)
      end
    end
  end
end

-- Writes amounts into every book of a call, or fails before it has written any: those of
-- the day of its reservation, even if it is past. A book that has expired since stays forgotten,
-- unless `opens`.
local function post_to(scopes, day, amounts, opens)
  add_to_books(scopes, day, refuse_unless_bookable(scopes, day), amounts, opens)
  if not day then
    return -- it was sent before there were books
  end
  for _, scope in ipairs(scopes) do
    if amounts.settled or amounts.unknown then
      tell_if_low(scope, day)
    end
    look_again(scope)
  end
end

local function post(job, day, amounts, opens)
  post_to(scopes_of(job), day, amounts, opens)
end

-- Whether a scope has a budget, or jobs that wait for one.
local function is_bounded(scopes)
  for _, scope in ipairs(scopes) do
    local total, of_day, of_month = unpack(redis.call('HMGET', K.book .. scope, 'limit:total', 'limit:day', 'limit:month'))
    if total or of_day or of_month or redis.call('HEXISTS', K.budget_waiter_counts, scope) == 1 then
      return true
    end
  end
  return false
end

-- `post_to` where no scope is bounded: nothing but books is written, and nothing else looked at.
local function post_unbounded(scopes, day, amounts, opens)
  add_to_books(scopes, day, sizes_of_books(scopes, day), amounts, opens)
end
