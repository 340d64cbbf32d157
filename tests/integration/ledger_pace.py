"""How fast models are asked, as plain Python, with the scripts' own arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from tests.integration.ledger_gates import KeptBack

if TYPE_CHECKING:
    from tests.integration.ledger_books import Ending, Job

MARGIN, GUARD, BURST, SLACK = 0.97, 0.985, 500, 50
HORIZON, LONGEST_HORIZON = 2_000, 10_000
RECHECK, WINDOW, IDLE = 250, 10_000, 2_000
SOON, MOST_REFUSALS, FORGOTTEN, RARE = 10, 3, 10, 0.2
LONGEST_PAUSE_TOLD = 60_000
CALM, PROVEN, PATIENCE, NOTICED, MOST_CALM = 16, 0.95, 40, 0.06, 1024


@dataclass
class Pace:
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
    last: int | None = None
    refusals: float = 0
    calm: int = 0
    proven: float | None = None
    trial: float | None = None
    patience: float | None = None
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
        self.ceiling = None
        self.forget_calm()

    def forget_calm(self) -> None:
        """Forget what was learned while few calls were refused."""
        self.calm, self.proven, self.trial, self.patience = 0, None, None, None


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
class Paced(KeptBack):
    """The books, and how fast the calls may follow each other."""

    paces: dict[str, Pace] = field(default_factory=dict)
    told_limits: dict[str, dict[str, Any]] = field(default_factory=dict)

    def pace(self, model: str) -> Pace:
        return self.paces.setdefault(model, Pace())

    def limits_of(self, model: str) -> dict[str, Any]:
        return self.told_limits.get(model, self.told_limits.get("*", {}))

    def say_limits(self, now: int, model: str, limits: dict[str, Any]) -> None:
        self.told_limits.pop(model, None)
        if limits:
            self.told_limits[model] = limits
        pace = self.pace(model)
        pace.start_over()
        pace.told_requests = pace.told_tokens = None
        pace.next = pace.requests_at = pace.tokens_at = 0
        for scope in self.held:
            if scope.startswith("pace:"):
                self.hold_ends[scope] = now

    def rates(self, model: str) -> Rates:
        pace, limits = self.pace(model), self.limits_of(model)
        told = _least(limits.get("requests_per_minute"), pace.told_requests)
        tokens = _least(limits.get("tokens_per_minute"), pace.told_tokens)
        told = told and told * MARGIN
        learned = _learned(pace)
        return Rates(
            requests=_least(told, learned),
            tokens=tokens and tokens * MARGIN,
            concurrency=limits.get("concurrency"),
            told=told,
            learned=learned,
            horizon=min(max(HORIZON, (pace.way or 0) * 1.5), LONGEST_HORIZON),
            step=pace.step,
        )

    def free_at(self, model: str, by_requests: float, by_tokens: float) -> float:
        pace = self.pace(model)
        return max(pace.requests_at - _leeway(by_requests), pace.tokens_at - _leeway(by_tokens))

    def counts_of(self, model: str) -> tuple[int, int]:
        """Return its calls that are out, and its jobs at hand."""
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
        times = rates.times(self.pace(model).call_tokens or 0)
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
            room = min(room, rates.step - (out - self.pace(model).calls_before))
        return room - at_hand

    def rests_long(self, now: int, lane: str) -> bool:
        model = model_of(lane)
        rates = self.rates(model)
        return rates.is_limited and self.free_at(model, *rates.times(0)) - now > rates.longest_wait

    # Admit ----------------------------------------------------------------------------------------

    def permit_for(self, now: int, job: Job, forecast: int) -> float | None:
        model = model_of(job.lane)
        pace, rates = self.pace(model), self.rates(model)
        if job.taken is not None and job.permit is None:
            pace.way = _average(pace.way, now - job.taken)
        if not rates.is_limited:
            return now
        times = rates.times(_reserved(pace, forecast))
        free = self.free_at(model, *times)
        if job.permit is None or free > max(job.permit, now) + max(SLACK, times[0] / 2):
            others = max(0, self.counts_of(model)[1] - 1)
            last_place = max(now, free) + BURST + others * max(times)
            permit = max(min(pace.next, last_place), now - BURST, free)
            if permit - now > rates.longest_wait:
                self.hold(f"pace:{model}", "rate_limited", _rounded(permit - rates.horizon))
                return None
            job.permit = _thousandths(permit)
            pace.next = _thousandths(permit + max(times))
        else:
            permit = job.permit
        permit = max(permit, free)
        if rates.concurrency and self.counts_of(model)[0] >= rates.concurrency:
            permit = max(permit, now + RECHECK)
        return permit

    def leave_at_pace(self, now: int, job: Job, forecast: int) -> None:
        model = model_of(job.lane)
        pace, rates = self.pace(model), self.rates(model)
        by_requests, by_tokens = rates.times(_reserved(pace, forecast))
        job.sent_at, job.forecast = now, forecast
        job.tokens = int(f"{_reserved(pace, forecast):.0f}")
        job.taken = job.permit = None
        if rates.requests:
            pace.requests_at = _thousandths(max(pace.requests_at, now) + by_requests * GUARD)
        if rates.tokens:
            pace.tokens_at = _thousandths(max(pace.tokens_at, now) + by_tokens * GUARD)

    # Finish ---------------------------------------------------------------------------------------

    def call_ended(self, now: int, job: Job, *, stays_lead: bool = False) -> None:
        model = model_of(job.lane)
        if job.gate and self.is_from_before(job, model):
            self.pace(model).calls_before -= 1
        if job.gate and (self.limits_of(model).get("concurrency") or self.pace(model).step):
            self.look_at_model_again(now, model)
        super().call_ended(now, job, stays_lead=stays_lead)

    def put_on_trial(self, now: int, model: str) -> None:
        pace = self.pace(model)
        pace.step, pace.rested, pace.calls_before = 1, now, self.counts_of(model)[0]

    def is_from_before(self, job: Job, model: str) -> bool:
        rested = self.pace(model).rested
        return bool(rested) and job.sent_at <= rested

    def look_at_model_again(self, now: int, model: str) -> None:
        if f"pace:{model}" in self.hold_ends:
            self.hold_ends[f"pace:{model}"] = now

    def hear_of_pace(self, now: int, job: Job, token: str, ending: Ending) -> None:
        if job.sent != token:
            return
        model, news = model_of(job.lane), ending.news
        pace = self.pace(model)
        self._adopt(now, model, news)
        rates = self.rates(model)
        used = 0 if ending.billing == "released" else news.get("tokens")
        if rates.tokens and used is not None:
            excess = (used - job.tokens) * 60_000 / rates.tokens
            pace.tokens_at = _thousandths((pace.tokens_at or now) + excess)
        if news.get("tokens") and job.forecast:
            pace.call_tokens = _average(pace.call_tokens, news["tokens"])
            pace.share = _average(pace.share, news["tokens"] / job.forecast)
        is_news = job.sent_at > pace.cut_at
        if news.get("refused"):
            each, length = 60_000 / rates.requests if rates.requests else 0.0, 0.0
            if is_news and job.waits < MOST_REFUSALS:
                length = self._cut(now, model, rates)
                each = length or each
            if news.get("pause", 0) > LONGEST_PAUSE_TOLD:
                self.put_on_trial(now, model)
            if "pause" in news:
                length = min(news["pause"], LONGEST_PAUSE_TOLD) + SLACK
            _note_refusal(pace, refused=True)
            pace.requests_at = _thousandths(max(pace.requests_at, now + length + _leeway(each)))
        elif ending.billing == "settled":
            _note_refusal(pace, refused=False)
            if is_news:
                self._count_success(now, pace, rates)

    def _adopt(self, now: int, model: str, news: dict[str, Any]) -> None:
        pace = self.pace(model)
        requests, tokens = news.get("requests_limit"), news.get("tokens_limit")
        told = (requests or pace.told_requests, tokens or pace.told_tokens)
        if told != (pace.told_requests, pace.told_tokens):
            pace.told_requests, pace.told_tokens = told
            pace.cut_at = now
            pace.start_over()
            self.look_at_model_again(now, model)

    def _cut(self, now: int, model: str, rates: Rates) -> float:
        pace = self.pace(model)
        asked = pace.passes + max(1, self.counts_of(model)[0])
        estimate = asked * 60_000 / max(1000, now - (pace.since or now))
        is_soon, rate = rates.learned is not None and pace.passes < SOON, rates.requests
        if pace.trial is not None and pace.refusals <= min(pace.trial + NOTICED, RARE):
            return 0
        if rate and pace.refusals < RARE:
            known = (pace.ceiling or 0) if rates.learned else 0
            if pace.trial is None:
                ceiling = max(rate, known * 0.995, _prove(pace, rate))
            else:
                ceiling = _end_trial(pace, rate)
            shares, spans = (0.97, 0.97), (15, 12) if rates.told else (30, 6)
        elif rates.told:
            ceiling, shares, spans = rate or 0, (0.8, 0.96), (15, 12)
        else:
            ceiling = estimate if rate is None else min(rate * 0.98, estimate * 1.5)
            ceiling, shares, spans = rate if is_soon and rate else ceiling, (0.5, 0.85), (30, 6)
        if not rate or pace.refusals >= RARE:
            pace.forget_calm()
        ceiling = max(1, ceiling)
        start = ceiling * shares[0 if is_soon else 1]
        pace.ceiling, pace.start = _thousandths(ceiling), _thousandths(start)
        pace.span = _thousandths(max(spans[0], ceiling / spans[1]))
        pace.passes, pace.since, pace.cut_at = 0, now, now
        return 60_000 / start

    def _count_success(self, now: int, pace: Pace, rates: Rates) -> None:
        idle = 0 if pace.last is None else now - pace.last
        patience = max(IDLE, 300_000 / rates.requests if rates.requests else 0)
        since = pace.since + (idle if idle > patience else 0)
        if rates.learned is None and now - since > WINDOW:
            pace.passes, pace.since = 1, now
            pace.ceiling, pace.calm, pace.proven, pace.patience = None, 0, None, None
        else:
            pace.passes, pace.since = pace.passes + 1, since
        pace.last = now

    def pace_fields(self) -> dict[str, dict[str, float]]:
        found = {}
        for model in {model_of(job.lane) for job in self.jobs.values()} | self.paces.keys():
            out, at_hand = self.counts_of(model)
            pace = self.pace(model)
            kept = {each.name: getattr(pace, each.name) for each in fields(pace)}
            if pace.ceiling is None:
                del kept["start"], kept["span"]
            kept |= {"calls_out": out, "at_hand": at_hand}
            found[model] = {name: float(value) for name, value in kept.items() if value}
        return {model: kept for model, kept in found.items() if kept}


def _prove(pace: Pace, rate: float) -> float:
    proven = pace.proven or 0
    pace.calm += 1
    if pace.proven is None and pace.calm >= CALM:
        proven = rate * (1 - pace.refusals) * PROVEN
        pace.proven = _thousandths(proven)
    if pace.calm >= (pace.patience or PATIENCE):
        pace.trial = pace.refusals
    return proven


def _end_trial(pace: Pace, rate: float) -> float:
    before = pace.trial or 0
    borne = rate * (1 - 2 * (pace.refusals - before))
    pace.proven = _thousandths(borne * (1 - before) * PROVEN)
    pace.patience = min(2 * (pace.patience or PATIENCE), MOST_CALM)
    pace.calm, pace.trial = 0, None
    return borne


def model_of(lane: str) -> str:
    return lane.split(":", 2)[2]


def _learned(pace: Pace) -> float | None:
    if pace.ceiling is None or pace.start is None or pace.span is None:
        return None
    way = pace.passes / pace.span
    if way >= FORGOTTEN:
        return None
    return pace.ceiling - (pace.ceiling - pace.start) * (1 - way) * (1 - way) * (1 - way)


def _least(one: float | None, other: float | None) -> float | None:
    return min(one, other) if one and other else one or other


def _leeway(each: float) -> float:
    return max(0, BURST - each)


def _reserved(pace: Pace, forecast: int) -> float:
    return forecast * min(1, 1 if pace.share is None else pace.share)


def _note_refusal(pace: Pace, *, refused: bool) -> None:
    if refused or pace.refusals > 0.02:
        pace.refusals = _thousandths(pace.refusals + (refused - pace.refusals) / 64)


def _average(before: float | None, value: float) -> float:
    return _thousandths(value if before is None else before + (value - before) / 8)


def _thousandths(value: float) -> float:
    return float(f"{value:.3f}")


def _rounded(value: float) -> int:
    return int(f"{value:.0f}")
