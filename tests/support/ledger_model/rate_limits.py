"""How fast models are asked, as plain Python, with the scripts' own arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from tests.support.ledger_model.gates import Gates

if TYPE_CHECKING:
    from tests.support.ledger_model.books import Ending, Job

MARGIN, BURST, SLACK = 0.97, 500, 50
HORIZON, LONGEST_HORIZON = 2_000, 10_000
RECHECK, WINDOW = 250, 10_000
MOST_REFUSALS, FORGOTTEN, CUT, RARE = 3, 10, 0.85, 0.2
LONGEST_PAUSE_TOLD = 60_000


@dataclass
class RateLimitStatus:
    """What is kept of a model, but for the counts of its jobs."""

    told_requests: float | None = None
    told_tokens: float | None = None
    ceiling: float | None = None
    start: float | None = None
    span: float | None = None
    passes: int = 0
    since: float = 0
    cut_at: int = 0
    next: float = 0
    requests_at: float = 0
    tokens_at: float = 0
    way: float | None = None
    call_tokens: float | None = None
    share: float | None = None
    refused_below: int = 0
    refused_above: int = 0
    usual: float = 0
    #: What is known of the model's health.
    silence: int = 0
    step: int = 0
    rest: int = 0
    rested: int = 0
    calls_before: int = 0
    answered: int = 0
    missing: int = 0

    def end_trial(self) -> None:
        """Let the model be asked as before."""
        self.step = self.rest = self.rested = self.calls_before = 0

    def start_over(self) -> None:
        """Forget what was learned from refusals."""
        self.ceiling, self.usual = None, 0


@dataclass
class Rates:
    """What follows from it now."""

    requests: float | None
    tokens: float | None
    concurrency: int | None
    told: float | None
    learned: float | None
    horizon: float
    #: How many calls may be out, where the model is on trial.
    step: int

    @property
    def is_limited(self) -> bool:
        told = (self.requests, self.tokens, self.concurrency) != (None, None, None)
        return told or self.step > 0

    @property
    def longest_wait(self) -> float:
        return 2 * self.horizon + 1000

    def times(self, tokens: float) -> tuple[float, float]:
        by_requests = 60_000 / self.requests if self.requests else 0
        return by_requests, tokens * 60_000 / self.tokens if self.tokens else 0


@dataclass
class RateLimits(Gates):
    """The books, and how fast the calls may follow each other."""

    paces: dict[str, RateLimitStatus] = field(default_factory=dict)
    told_limits: dict[str, dict[str, Any]] = field(default_factory=dict)

    def rate_limit(self, model: str) -> RateLimitStatus:
        return self.paces.setdefault(model, RateLimitStatus())

    def limits_of(self, model: str) -> dict[str, Any]:
        return self.told_limits.get(model, self.told_limits.get("*", {}))

    def set_limits(self, now: int, model: str, limits: dict[str, Any]) -> None:
        self.told_limits.pop(model, None)
        if limits:
            self.told_limits[model] = limits
        rate_limit = self.rate_limit(model)
        rate_limit.start_over()
        rate_limit.told_requests = rate_limit.told_tokens = None
        rate_limit.next = rate_limit.requests_at = rate_limit.tokens_at = 0
        for scope in self.held:
            if scope.startswith("pace:"):
                self.hold_ends[scope] = now

    def rates(self, model: str) -> Rates:
        rate_limit, limits = self.rate_limit(model), self.limits_of(model)
        told = _least(limits.get("requests_per_minute"), rate_limit.told_requests)
        tokens = _least(limits.get("tokens_per_minute"), rate_limit.told_tokens)
        told = told and told * MARGIN
        learned = _learned(rate_limit)
        return Rates(
            requests=_least(told, learned),
            tokens=tokens and tokens * MARGIN,
            concurrency=limits.get("concurrency"),
            told=told,
            learned=learned,
            horizon=min(max(HORIZON, (rate_limit.way or 0) * 1.5), LONGEST_HORIZON),
            step=rate_limit.step,
        )

    def free_at(self, model: str, by_requests: float, by_tokens: float) -> float:
        rate_limit = self.rate_limit(model)
        return max(
            rate_limit.requests_at - _leeway(by_requests), rate_limit.tokens_at - _leeway(by_tokens)
        )

    def counts_of(self, model: str) -> tuple[int, int]:
        """Return its calls that are out, and its unsent jobs."""
        jobs = [job for job in self.jobs.values() if model_of(job.lane) == model]
        return sum(bool(job.gate) for job in jobs), sum(job.taken is not None for job in jobs)

    # Dispatch and claim ---------------------------------------------------------------------------

    def out_of_pace(self, now: int, lane: str, rooms: dict[str, float]) -> str:
        model = model_of(lane)
        scope = f"pace:{model}"
        if scope in self.held:
            return scope
        rates = self.rates(model)
        rooms.setdefault(
            model, self._room_in_pace(now, model, rates) if rates.is_limited else math.inf
        )
        if rooms[model] > 0:
            return ""
        free = self.free_at(model, *rates.times(0))
        self.hold(scope, "rate_limited", max(now + RECHECK, _rounded(free - rates.horizon)))
        return scope

    def _room_in_pace(self, now: int, model: str, rates: Rates) -> float:
        times = rates.times(self.rate_limit(model).call_tokens or 0)
        ahead = now + rates.horizon - max(now, self.free_at(model, *times))
        room = math.inf
        if ahead < 0:
            room = 0
        elif max(times) > 0:
            room = math.floor(ahead / max(times)) + 1
        out, at_hand = self.counts_of(model)
        if rates.concurrency:
            room = min(room, rates.concurrency + math.ceil(rates.concurrency / 4) - out)
        if rates.step:
            room = min(room, rates.step - (out - self.rate_limit(model).calls_before))
        return room - at_hand

    def rests_long(self, now: int, lane: str) -> bool:
        model = model_of(lane)
        rates = self.rates(model)
        return rates.is_limited and self.free_at(model, *rates.times(0)) - now > rates.longest_wait

    # Admit ----------------------------------------------------------------------------------------

    def permit_for(self, now: int, job: Job, forecast: int) -> float | None:
        model = model_of(job.lane)
        rate_limit, rates = self.rate_limit(model), self.rates(model)
        if job.taken is not None and job.permit is None:
            rate_limit.way = _average(rate_limit.way, now - job.taken)
        if not rates.is_limited:
            return now
        times = rates.times(_reserved(rate_limit, forecast))
        free = self.free_at(model, *times)
        if job.permit is None or free > max(job.permit, now) + max(SLACK, times[0] / 2):
            others = max(0, self.counts_of(model)[1] - 1)
            last_place = max(now, free) + BURST + others * max(times)
            permit = max(min(rate_limit.next, last_place), now - BURST, free)
            if permit - now > rates.longest_wait:
                self.hold(f"pace:{model}", "rate_limited", _rounded(permit - rates.horizon))
                return None
            job.permit = _thousandths(permit)
            rate_limit.next = _thousandths(permit + max(times))
        else:
            permit = job.permit
        permit = max(permit, free)
        if rates.concurrency and self.counts_of(model)[0] >= rates.concurrency:
            permit = max(permit, now + RECHECK)
        return permit

    def leave_at_pace(self, now: int, job: Job, forecast: int) -> None:
        model = model_of(job.lane)
        rate_limit, rates = self.rate_limit(model), self.rates(model)
        by_requests, by_tokens = rates.times(_reserved(rate_limit, forecast))
        job.sent_at, job.forecast = now, forecast
        job.tokens = int(f"{_reserved(rate_limit, forecast):.0f}")
        job.taken = job.permit = None
        if rates.requests:
            rate_limit.requests_at = _thousandths(max(rate_limit.requests_at, now) + by_requests)
        if rates.tokens:
            rate_limit.tokens_at = _thousandths(max(rate_limit.tokens_at, now) + by_tokens)

    # Finish ---------------------------------------------------------------------------------------

    def call_ended(self, now: int, job: Job, *, stays_lead: bool = False) -> None:
        model = model_of(job.lane)
        if job.gate and self.is_from_before(job, model):
            self.rate_limit(model).calls_before -= 1
        if job.gate and (self.limits_of(model).get("concurrency") or self.rate_limit(model).step):
            self.look_at_model_again(now, model)
        super().call_ended(now, job, stays_lead=stays_lead)

    def put_on_trial(self, now: int, model: str) -> None:
        rate_limit = self.rate_limit(model)
        rate_limit.step, rate_limit.rested, rate_limit.calls_before = (
            1,
            now,
            self.counts_of(model)[0],
        )

    def is_from_before(self, job: Job, model: str) -> bool:
        rested = self.rate_limit(model).rested
        return bool(rested) and job.sent_at <= rested

    def look_at_model_again(self, now: int, model: str) -> None:
        if f"pace:{model}" in self.hold_ends:
            self.hold_ends[f"pace:{model}"] = now

    def hear_of_pace(self, now: int, job: Job, token: str, ending: Ending) -> None:
        if job.sent != token:
            return
        model, news = model_of(job.lane), ending.news
        rate_limit = self.rate_limit(model)
        self._adopt(now, model, news)
        rates = self.rates(model)
        used = 0 if ending.billing == "released" else news.get("tokens")
        if rates.tokens and used is not None:
            excess = (used - job.tokens) * 60_000 / rates.tokens
            rate_limit.tokens_at = _thousandths((rate_limit.tokens_at or now) + excess)
        if news.get("tokens") and job.forecast:
            rate_limit.call_tokens = _average(rate_limit.call_tokens, news["tokens"])
            rate_limit.share = _average(rate_limit.share, news["tokens"] / job.forecast)
        is_news = job.sent_at > rate_limit.cut_at
        if news.get("refused"):
            each, length = 60_000 / rates.requests if rates.requests else 0.0, 0.0
            if is_news and job.waits < MOST_REFUSALS:
                length = self._cut(now, model, rates)
                each = length or each
            if news.get("pause", 0) > LONGEST_PAUSE_TOLD:
                self.put_on_trial(now, model)
            if "pause" in news:
                length = min(news["pause"], LONGEST_PAUSE_TOLD) + SLACK
            rate_limit.requests_at = _thousandths(
                max(rate_limit.requests_at, now + length + _leeway(each))
            )
        elif ending.billing == "settled" and is_news:
            _count_success(now, rate_limit, rates)

    def _adopt(self, now: int, model: str, news: dict[str, Any]) -> None:
        rate_limit = self.rate_limit(model)
        requests, tokens = news.get("requests_limit"), news.get("tokens_limit")
        told = (requests or rate_limit.told_requests, tokens or rate_limit.told_tokens)
        if told != (rate_limit.told_requests, rate_limit.told_tokens):
            rate_limit.told_requests, rate_limit.told_tokens = told
            rate_limit.cut_at = now
            rate_limit.start_over()
            self.look_at_model_again(now, model)

    def _cut(self, now: int, model: str, rates: Rates) -> float:
        rate_limit, rate = self.rate_limit(model), rates.requests
        asked = rate_limit.passes + max(1, self.counts_of(model)[0])
        lately = asked * 60_000 / max(1000, now - (rate_limit.since or now))
        if rates.learned is None or rate is None:
            return _climb_to(now, rate_limit, rate or lately)
        span, below = rate_limit.span or 0, rate_limit.refused_below
        is_below, share = rate_limit.passes < span, below / (span + below)
        if is_below:
            rate_limit.refused_below = refused = below + 1
            calls: float = refused + rate_limit.passes
            borne = RARE
        else:
            rate_limit.refused_above = refused = rate_limit.refused_above + 1
            calls = refused + rate_limit.passes - span
            borne = min(RARE, 2 * min(share, rate_limit.usual))
        if refused < 1 + borne * calls:
            return 0
        rate_limit.usual = _thousandths(share)
        least = rate / 2 if share else (lately + rate) / 2
        return _climb_to(now, rate_limit, min(rate, max(lately, least)))

    def pace_fields(self) -> dict[str, dict[str, float]]:
        found = {}
        for model in {model_of(job.lane) for job in self.jobs.values()} | self.paces.keys():
            out, at_hand = self.counts_of(model)
            rate_limit = self.rate_limit(model)
            kept = {each.name: getattr(rate_limit, each.name) for each in fields(rate_limit)}
            if rate_limit.ceiling is None:
                del kept["start"], kept["span"]
            kept |= {"calls_out": out, "at_hand": at_hand}
            found[model] = {name: float(value) for name, value in kept.items() if value}
        return {model: kept for model, kept in found.items() if kept}


def _climb_to(now: int, rate_limit: RateLimitStatus, ceiling: float) -> float:
    ceiling = max(1, ceiling)
    start = ceiling * CUT
    rate_limit.ceiling, rate_limit.start = _thousandths(ceiling), _thousandths(start)
    rate_limit.span = _thousandths(max(30, ceiling / 3))
    rate_limit.passes, rate_limit.since, rate_limit.cut_at = 0, now, now
    rate_limit.refused_below = rate_limit.refused_above = 0
    return 60_000 / start


def _count_success(now: int, rate_limit: RateLimitStatus, rates: Rates) -> None:
    if rates.learned is None and now - rate_limit.since > WINDOW:
        rate_limit.passes, rate_limit.since, rate_limit.ceiling = 1, now, None
    else:
        rate_limit.passes += 1


def model_of(lane: str) -> str:
    return lane.split(":", 2)[2]


def _learned(rate_limit: RateLimitStatus) -> float | None:
    if rate_limit.ceiling is None or rate_limit.start is None or rate_limit.span is None:
        return None
    way = rate_limit.passes / rate_limit.span
    if way >= FORGOTTEN:
        return None
    return rate_limit.ceiling - (rate_limit.ceiling - rate_limit.start) * (1 - way) * (1 - way) * (
        1 - way
    )


def _least(one: float | None, other: float | None) -> float | None:
    return min(one, other) if one and other else one or other


def _leeway(each: float) -> float:
    return max(0, BURST - each)


def _reserved(rate_limit: RateLimitStatus, forecast: int) -> float:
    return forecast * min(1, 1 if rate_limit.share is None else rate_limit.share)


def _average(before: float | None, value: float) -> float:
    return _thousandths(value if before is None else before + (value - before) / 8)


def _thousandths(value: float) -> float:
    return float(f"{value:.3f}")


def _rounded(value: float) -> int:
    return int(f"{value:.0f}")
