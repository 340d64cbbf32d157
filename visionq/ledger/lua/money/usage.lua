-- include: core/base

-- What calls counted, beside what had been forecast: sums in which an answer weighs half as much as
-- one that came a HALF_LIFE of answers later. Statistics, not money: hence floats.

local HALF_LIFE = { lasting = 100, recent = 15 } -- answers
local KEPT_DAYS = 90
-- Of the most that a call costs by our prices: no dearer cost is believed (worker/pipeline/costs.py).
local MOST_TIMES = 15
local MOST_KINDS, MOST_QUESTIONS = 200, 1000

-- `terms`: half-life → name → what is added to the sum of that name.
local function add_to_sums(key, terms)
  local names, added, faded = {}, {}, {}
  for half_life, some in pairs(terms) do
    for name, term in pairs(some) do
      names[#names + 1] = name
      added[#names], faded[#names] = term, 0.5 ^ (1 / HALF_LIFE[half_life])
    end
  end
  local sums, fields = redis.call('HMGET', key, unpack(names)), {}
  for place, name in ipairs(names) do
    local sum = (tonumber(sums[place] or 0) or 0) * faded[place] + added[place]
    fields[#fields + 1] = name
    fields[#fields + 1] = string.format('%.17g', sum)
  end
  redis.call('HINCRBY', key, 'answers', 1)
  redis.call('HSET', key, unpack(fields))
  redis.call('EXPIRE', key, KEPT_DAYS * 86400)
end

local function list_bounded(index, member, prefix, most)
  redis.call('ZADD', index, at(now), member)
  if redis.call('ZCARD', index) > most then
    redis.call('DEL', prefix .. redis.call('ZPOPMIN', index)[1])
  end
  redis.call('EXPIRE', index, KEPT_DAYS * 86400)
end

-- `note`: nil, or kind (`model:detail/effort`), question, and tokens: pictures and texts as
-- forecast; input, cached, written and output as counted; told_cost and table_cost: nano-rubles by the
-- provider's word and by our prices, 0 where it does not say; plain: whether the texts were those of the
-- question alone; is_forecast: whether there are forecasts, else only the costs count. A prompt is
-- written once and read ever after, so that only the last answers tell how it will go on.
local function note_usage(note)
  if not note then
    return
  end
  local told, by_table = note.told_cost or 0, note.table_cost or 0
  if note.model and told > 0 and by_table > 0 then
    -- How many times our price the model costs, by which admit.lua reserves; it fades where calls get
    -- cheaper, and is a millionth more for what both costs are rounded by.
    local key = K.cost_factor .. note.model
    local faded = 1 + (tonumber(redis.call('GET', key) or 1) - 1) * 0.5 ^ (1 / HALF_LIFE.lasting)
    local factor = math.min(MOST_TIMES, math.max(1, faded, told / by_table * (1 + 1e-6)))
    redis.call('SET', key, string.format('%.17g', factor), 'EX', KEPT_DAYS * 86400)
  end
  if note.is_forecast == false then
    return
  end
  local p, t, a, output = note.pictures, note.texts, note.input, note.output
  local written = note.written or 0 -- an older worker does not say
  add_to_sums(K.usage .. note.kind, { lasting = {
    weight = 1, p = p, t = t, a = a, pp = p * p, pt = p * t, tt = t * t, pa = p * a, ta = t * a,
    aa = a * a, cached = note.cached, written = written, output = output, oo = output * output,
    told_cost = told, table_cost = by_table,
  } })
  list_bounded(K.usage_kinds, note.kind, K.usage, MOST_KINDS)
  local question = K.question .. note.question
  add_to_sums(question, {
    lasting = { weight = 1, output = output, oo = output * output },
    recent = { recent = 1, cached = note.cached, rest = a - note.cached, written = written },
  })
  local least = tonumber(redis.call('HGET', question, 'least') or math.huge) or math.huge
  if note.plain and a < least then
    redis.call('HSET', question, 'least', string.format('%.17g', a))
  end
  list_bounded(K.questions, note.question, K.question, MOST_QUESTIONS)
end
