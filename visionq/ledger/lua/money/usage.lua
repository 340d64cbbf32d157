-- include: core/base

-- What calls counted, beside what had been forecast: sums in which an answer weighs half as much as
-- one that came a HALF_LIFE of answers later. Statistics, not money: hence floats.

local HALF_LIFE = { lasting = 100, recent = 15 } -- answers
local KEPT_DAYS = 90
-- Of the most that a call costs by our prices: no dearer cost is believed (worker/pipeline/costs.py).
local MOST_TIMES = 15
local MOST_KINDS, MOST_QUESTIONS = 200, 1000

-- `each`: for each answer half-life → name → what is added to the sum of that name; `least`: the least
-- that any of them counted, or nil. The key is read and written once.
local function add_to_sums(key, each, least)
  local names, faded, added = {}, {}, {}
  for half_life, some in pairs(each[1]) do
    for name in pairs(some) do
      names[#names + 1] = name
      faded[#names] = 0.5 ^ (1 / HALF_LIFE[half_life])
      added[#names] = half_life
    end
  end
  local stored = redis.call('HMGET', key, 'answers', 'least', unpack(names))
  local fields = { 'answers', at((stored[1] or 0) + #each) }
  for place, name in ipairs(names) do
    local sum = tonumber(stored[place + 2] or 0) or 0
    for _, terms in ipairs(each) do
      sum = sum * faded[place] + terms[added[place]][name]
    end
    fields[#fields + 1] = name
    fields[#fields + 1] = string.format('%.17g', sum)
  end
  if least and least < (tonumber(stored[2] or math.huge) or math.huge) then
    fields[#fields + 1] = 'least'
    fields[#fields + 1] = string.format('%.17g', least)
  end
  redis.call('HSET', key, unpack(fields))
  redis.call('EXPIRE', key, KEPT_DAYS * 86400)
end

-- `members`: names of hashes behind `prefix`; the oldest beyond `most` go, with all that is known of them.
local function list_bounded(index, members, prefix, most)
  local listed = {}
  for member in pairs(members) do
    listed[#listed + 1] = at(now)
    listed[#listed + 1] = member
  end
  redis.call('ZADD', index, unpack(listed))
  local excess = redis.call('ZCARD', index) - most
  if excess > 0 then
    local oldest = redis.call('ZPOPMIN', index, excess)
    for i = 1, #oldest, 2 do
      redis.call('DEL', prefix .. oldest[i])
    end
  end
  redis.call('EXPIRE', index, KEPT_DAYS * 86400)
end

-- How many times our price a model costs by the seller's own word, by which admit.lua reserves; it fades
-- where calls get cheaper, and is a millionth more for what both costs are rounded by.
local function note_cost_factor(model, told, by_table)
  local key = K.cost_factor .. model
  local faded = 1 + (tonumber(redis.call('GET', key) or 1) - 1) * 0.5 ^ (1 / HALF_LIFE.lasting)
  local factor = math.min(MOST_TIMES, math.max(1, faded, told / by_table * (1 + 1e-6)))
  redis.call('SET', key, string.format('%.17g', factor), 'EX', KEPT_DAYS * 86400)
end

local function add_to(lists, name, item)
  lists[name] = lists[name] or {}
  table.insert(lists[name], item)
end

-- Each of `notes`: kind (`model:detail/effort`), question, and tokens: pictures and texts as forecast;
-- input, cached, written and output as counted; told_cost and table_cost: nano-rubles by the provider's
-- word and by our prices, 0 where it does not say; plain: whether the texts were those of the question
-- alone. A prompt is written once and read ever after, so that only the last answers tell how it will
-- go on.
local function note_usages(notes)
  local kinds, questions, least = {}, {}, {}
  for _, note in ipairs(notes) do
    local p, t, a, output = note.pictures, note.texts, note.input, note.output
    add_to(kinds, note.kind, { lasting = {
      weight = 1, p = p, t = t, a = a, pp = p * p, pt = p * t, tt = t * t, pa = p * a, ta = t * a,
      aa = a * a, cached = note.cached, written = note.written, output = output, oo = output * output,
      told_cost = note.told_cost, table_cost = note.table_cost,
    } })
    add_to(questions, note.question, {
      lasting = { weight = 1, output = output, oo = output * output },
      recent = { recent = 1, cached = note.cached, rest = a - note.cached, written = note.written },
    })
    if note.plain then
      least[note.question] = math.min(a, least[note.question] or a)
    end
  end
  for kind, each in pairs(kinds) do
    add_to_sums(K.usage .. kind, each)
  end
  for question, each in pairs(questions) do
    add_to_sums(K.question .. question, each, least[question])
  end
  if #notes > 0 then
    list_bounded(K.usage_kinds, kinds, K.usage, MOST_KINDS)
    list_bounded(K.questions, questions, K.question, MOST_QUESTIONS)
  end
end
