-- include: metrics/labels, money/usage

-- Adds what the attempts of a worker have counted to the fleet's counters, and what their calls used to
-- what forecasts learn from.
-- ARGV: now, what was counted as JSON (`add_statistics` in visionq/ledger/attempt_statistics.py). Amounts
--   are text, as those of money are.

local statistics = cjson.decode(ARGV[2])
for _, of_lane in ipairs(statistics.lanes) do
  count_all(of_lane.lane, of_lane.counted, of_lane.is_answered)
end
note_usages(statistics.usage)
