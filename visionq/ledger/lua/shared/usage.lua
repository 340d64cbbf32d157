-- What calls counted, beside what had been forecast: sums in which an answer weighs half as much as
-- one that came HALF_LIFE answers later. Statistics, not money: hence floats.

local HALF_LIFE = 100
local KEPT_DAYS = 90
local MOST_KINDS, MOST_QUESTIONS = 200, 1000

local function add_to_sums(key, terms)
  local names, answers = {}, redis.call('HINCRBY', key, 'answers', 1)
  for name in pairs(terms) do
    names[#names + 1] = name
  end
  local sums, fields = redis.call('HMGET', key, unpack(names)), {}
  for place, name in ipairs(names) do
    local sum = (tonumber(sums[place] or 0) or 0) * 0.5 ^ (1 / HALF_LIFE) + terms[name]
    fields[#fields + 1] = name
    fields[#fields + 1] = string.format('%.17g', sum)
  end
  redis.call('HSET', key, unpack(fields))
  redis.call('EXPIRE', key, KEPT_DAYS * 86400)
  return answers
end

local function list(index, member, prefix, most)
  redis.call('ZADD', index, at(now), member)
  if redis.call('ZCARD', index) > most then
    redis.call('DEL', prefix .. redis.call('ZPOPMIN', index)[1])
  end
  redis.call('EXPIRE', index, KEPT_DAYS * 86400)
end

-- `text`: '' or JSON: kind (`model:detail/effort`), question, and tokens: pictures and texts as forecast;
-- input, cached and output as counted; plain: whether the texts were those of the question alone.
local function note_usage(text)
  if text == '' then
    return
  end
  local note = cjson.decode(text)
  local p, t, a, output = note.pictures, note.texts, note.input, note.output
  add_to_sums(K.usage .. note.kind, {
    weight = 1, p = p, t = t, a = a, pp = p * p, pt = p * t, tt = t * t, pa = p * a, ta = t * a,
    aa = a * a, cached = note.cached, output = output, oo = output * output,
  })
  list(K.usage_kinds, note.kind, K.usage, MOST_KINDS)
  local question = K.question .. note.question
  add_to_sums(question, { weight = 1, output = output, oo = output * output })
  local least = tonumber(redis.call('HGET', question, 'least') or math.huge) or math.huge
  if note.plain and a < least then
    redis.call('HSET', question, 'least', string.format('%.17g', a))
  end
  list(K.questions, note.question, K.question, MOST_QUESTIONS)
end
