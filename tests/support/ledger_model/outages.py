"""What calls without a word of the provider's own lead to, as plain Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.ledger_model.gates import FIRST_TRIAL, LONGEST_PAUSE
from tests.support.ledger_model.rate_limits import RateLimits, model_of

if TYPE_CHECKING:
    from tests.support.ledger_model.books import Ending, Gate, Job

OUTAGE = "provider_unavailable"
ENOUGH_SILENCE, ENOUGH_STEPS = 10, 32
MOST_RISKY_LANES = 50


@dataclass
class Outages(RateLimits):
    """The books, the rate limit, and what is known of the provider's health."""

    def rest_model(self, now: int, model: str, reason: str, length: int | None = None) -> None:
        rate_limit = self.rate_limit(model)
        rate_limit.rest = (
            min(2 * rate_limit.rest, LONGEST_PAUSE) if rate_limit.rest else FIRST_TRIAL
        )
        rate_limit.silence = 0
        self.put_on_trial(now, model)
        self.hold(f"model:{model}", reason, now + (rate_limit.rest if length is None else length))

    def hear_of_provider(self, now: int, job: Job, ending: Ending) -> bool:
        """Take note of how a call ended; returns whether the provider is known to be out."""
        gate, model = self.gate(job.gate), model_of(job.lane)
        rate_limit = self.rate_limit(model)
        is_free = ending.billing == "released"
        if ending.billing == "unknown" or (is_free and ending.reason == OUTAGE):
            return self._hear_silence(now, job, ending, 1 if is_free else 2)
        gate.silence = 0
        if ending.billing == "settled":
            self._answered(now, job, model)
        elif ending.reason == "model_not_found":
            self._hear_missing(now, job, model)
        else:
            rate_limit.silence = 0
        return False

    def _answered(self, now: int, job: Job, model: str) -> None:
        rate_limit = self.rate_limit(model)
        rate_limit.answered, rate_limit.silence, rate_limit.missing = 1, 0, 0
        if not rate_limit.step or self.is_from_before(job, model):
            return
        rate_limit.step *= 2
        if rate_limit.step >= ENOUGH_STEPS:
            rate_limit.end_trial()
        self.look_at_model_again(now, model)

    def _hear_silence(self, now: int, job: Job, ending: Ending, points: int) -> bool:
        gate, model = self.gate(job.gate), model_of(job.lane)
        rate_limit, is_old = self.rate_limit(model), job.epoch != gate.epoch
        if gate.reason == OUTAGE and (gate.state == "closed" or is_old):
            return True
        if self.held.get(f"model:{model}") == OUTAGE:
            return True
        if gate.state == "closed":
            return False
        is_trial = is_on_trial(gate)
        gate.silence += points
        gives_up = ending.may_be_put_off and ending.kind != "waiting"
        gives_up = gives_up and job.silent.get(job.gate) == gate.passes
        job.silent[job.gate] = gate.passes
        enough = min(ENOUGH_SILENCE, 2 * gate.step) if is_trial else ENOUGH_SILENCE
        if gate.silence >= enough or gives_up:
            self.close(now, gate, OUTAGE, 0)
            gate.silence = rate_limit.silence = 0
            return True
        if not self.is_from_before(job, model):
            rate_limit.silence += points
            if rate_limit.silence >= min(ENOUGH_SILENCE, 2 * (rate_limit.step or ENOUGH_SILENCE)):
                self.rest_model(now, model, OUTAGE)
                return True
        return is_trial or bool(rate_limit.step)

    def _hear_missing(self, now: int, job: Job, model: str) -> None:
        rate_limit = self.rate_limit(model)
        if self.is_from_before(job, model):
            return
        rate_limit.missing += 1
        if rate_limit.missing > 1 and not rate_limit.answered:
            rate_limit.end_trial()
            self.look_at_model_again(now, model)
        else:
            self.rest_model(now, model, "model_not_found")

    def put_off(self, job: Job) -> None:
        self.results[job.id] = "RETRY"
        self.requeue(job, at_head=False)

    # Who makes a trial ----------------------------------------------------------------------------

    def is_out(self) -> bool:
        keys = {pool.partition("@")[2] for pool, slots in self.slots().items() if slots}
        return any(is_on_trial(self.gate(key)) for key in keys)

    def risk_at_head(self, lane: str) -> int:
        job = self.jobs.get(self.lanes[lane][0])
        return job.unknown_calls if job else 0


def is_on_trial(gate: Gate) -> bool:
    return gate.state == "reopening" and gate.reason == OUTAGE
