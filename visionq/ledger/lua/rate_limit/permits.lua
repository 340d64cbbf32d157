-- include: core/base, jobs/moves, rate_limit/limits

-- Permits: when a call may be sent.

-- No more jobs can be ahead of one than are claimed and not sent: of those cancelled, or whose workers
-- died, with their permits, nobody keeps the places free.
local function last_place(rate_limit, free, each)
  return math.max(now, free) + BURST + math.max(0, (rate_limit.at_hand or 0) - 1) * each
end

-- When the call may be sent: now or earlier, later, or nil for so late that the job must not wait
-- for it in a worker's hands, and how late. The job keeps its time as a permit; others get later
-- ones.
local function permit_for(rate_limit, job, forecast)
  local taken, permit = unpack(redis.call('HMGET', job, 'taken', 'permit'))
  if taken and not permit then
    average(rate_limit, 'way', now - taken)
  end
  if not rate_limit.is_limited then
    return now
  end
  local by_requests, by_tokens = times_of(rate_limit, reserved_of(rate_limit, forecast))
  local free = free_at(rate_limit, by_requests, by_tokens)
  permit = tonumber(permit or nil)
  if not permit or free > math.max(permit, now) + math.max(SLACK, by_requests / 2) then
    local each = math.max(by_requests, by_tokens)
    permit = math.max(math.min(rate_limit.next or 0, last_place(rate_limit, free, each)), now - BURST, free)
    if permit - now > rate_limit.longest_wait then
      return nil, permit
    end
    redis.call('HSET', job, 'permit', string.format('%.3f', permit))
    save(rate_limit, 'next', permit + each)
  end
  permit = math.max(permit, free)
  if rate_limit.concurrency and (rate_limit.calls_out or 0) >= rate_limit.concurrency then
    permit = math.max(permit, now + RECHECK)
  end
  return permit
end

-- The call leaves: what it takes of the limits is taken from now on.
local function release_rate_limit(rate_limit, job, forecast)
  local by_requests, by_tokens = times_of(rate_limit, reserved_of(rate_limit, forecast))
  redis.call('HINCRBY', rate_limit.key, 'calls_out', 1)
  uncount_unsent(job)
  redis.call(
    'HSET', job,
    'sent_at', at(now), 'forecast', at(forecast), 'tokens', at(reserved_of(rate_limit, forecast))
  )
  if rate_limit.requests then
    save(rate_limit, 'requests_at', math.max(rate_limit.requests_at or 0, now) + by_requests)
  end
  if rate_limit.tokens then
    save(rate_limit, 'tokens_at', math.max(rate_limit.tokens_at or 0, now) + by_tokens)
  end
end

