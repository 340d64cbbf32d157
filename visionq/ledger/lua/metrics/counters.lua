-- Counters for the exporter: one hash, field → whole number, never reset. A field is a name and its
-- labels, joined by `|`; visionq/ledger/metrics.py says which there are.

local MOST_DIGITS = 17 -- of one amount: of money, a hundred million rubles

local FULL = '9223372036854775807'

-- Adds to a whole number, which Redis keeps in 64 bits: one that is full stays full. Were it an error,
-- the script would stop half-way, and one book would know what another does not.
local function increase(key, field, amount)
  local sum = redis.pcall('HINCRBY', key, field, amount)
  if type(sum) == 'number' then
    return sum
  elseif string.find(sum.err, 'overflow', 1, true) then
    redis.call('HSET', key, field, tonumber(amount) < 0 and '-' .. FULL or FULL)
    return tonumber(FULL)
  end
  error(sum.err)
end

local function count(field, amount)
  return increase(K.metrics, field, amount or 1)
end

-- Before the first write: a script that fails half-way can't be taken back. '' is no number.
local function refuse_unless_whole(...)
  for _, number in ipairs({ ... }) do
    if number ~= '' and not (string.match(number, '^%d+$') and #number <= MOST_DIGITS) then
      error('not a number that can be booked: ' .. number)
    end
  end
end
