"""Facts about models: learned usage, the provider's list, shutdown dates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import NoPermissionError

from visionq.ledger.overview import overview
from visionq.ledger.provider_batches import read_all_support
from visionq.ledger.usage import kind_of, read_calibrations, read_cost_ratios, read_outputs
from visionq.model_migrations import NO_MIGRATIONS, read_migrations
from visionq.names import ANSWER, USAGE
from visionq.pricing.flex import FLEX
from visionq.pricing.model_list import ListedModels, read_model_list, unlisted_warning
from visionq.pricing.models import ModelEnd, end_of, in_its_place, warning_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date

    from redis import Redis

    from visionq.contract import JobDocument
    from visionq.ledger.provider_batches import BatchSupport
    from visionq.ledger.usage import Output, TokenCalibration
    from visionq.model_migrations import ModelMigrations
    from visionq.pricing.vision import VisionRules

T = TypeVar("T")


def _if_allowed(read: Callable[[], T], otherwise: T) -> T:
    """Return `otherwise` to a user of Redis who may only submit."""
    try:
        return read()
    except NoPermissionError:
        return otherwise


@dataclass(frozen=True, slots=True)
class BatchesSeen:
    """Results of a model's batches."""

    #: Seconds that the last ones took.
    took: tuple[float, ...] = ()
    #: Why the provider takes none; empty: as far as is known it does.
    refused: str = ""
    #: Likewise of calls at flex.
    flex_refused: str = ""
    #: Whether a batch was answered.
    is_proven: bool = False


@dataclass(frozen=True)
class LearnedStatistics:
    """Learned statistics of a running stack; empty without one."""

    redis: Redis | None = None
    #: Asks the provider itself if no worker has.
    ask_for_models: Callable[[], ListedModels | None] | None = None

    def migrations(self) -> ModelMigrations:
        """Return which models are asked in the place of others."""
        return read_migrations(self.redis) if self.redis is not None else NO_MIGRATIONS

    def calibrations(self, kinds: Sequence[str]) -> Mapping[str, TokenCalibration | None]:
        """Return the calibration of each kind (`kind_of`)."""
        return read_calibrations(self.redis, kinds) if self.redis is not None else {}

    def outputs(self, questions: Sequence[str]) -> Mapping[str, Output]:
        """Return the lengths of answers to questions."""
        return read_outputs(self.redis, questions) if self.redis is not None else {}

    def cost_ratios(self) -> Mapping[str, float]:
        """Return reported costs by table costs, of models whose answers carry a cost."""
        redis = self.redis
        return _if_allowed(lambda: read_cost_ratios(redis), {}) if redis is not None else {}

    def stored(self, cache_keys: Sequence[str]) -> list[bool]:
        """Return which keys have a cached answer, in one round trip."""
        nothing = [False] * len(cache_keys)
        redis = self.redis
        if redis is None:
            return nothing
        return _if_allowed(lambda: _stored(redis, cache_keys), nothing)

    def has_answers(self, job: JobDocument) -> bool:
        """Return whether the model has had such jobs in the last months."""
        key = USAGE + kind_of(job.model or "", job.detail, job.effort)
        return self.redis is not None and bool(self.redis.exists(key))

    def batches_seen(self, models: Iterable[str]) -> Mapping[str, BatchesSeen]:
        """Return the batch results of each model, over all keys and APIs."""
        redis = self.redis
        if redis is None:
            return {}
        found: Mapping[tuple[str, str, str], BatchSupport]
        found = _if_allowed(lambda: read_all_support(redis), {})
        return {
            name: _seen([(api, one) for (_, model, api), one in found.items() if model == name])
            for name in set(models)
        }

    def model_list(self) -> ListedModels | None:
        """Return the provider's models: stored by a worker, else asked for, else None."""
        redis = self.redis
        noted = _if_allowed(lambda: read_model_list(redis), None) if redis is not None else None
        return noted or (self.ask_for_models() if self.ask_for_models is not None else None)

    def per_minute(self) -> float | None:
        """Return jobs per minute lately, without idle time; None: too few have ended."""
        redis = self.redis
        if redis is None:
            return None
        return _if_allowed(lambda: overview(redis).pace_per_minute, None)


def _seen(known: Sequence[tuple[str, BatchSupport]]) -> BatchesSeen:
    """Return one verdict: refused if some key or API is, and none works."""
    batches = [one for api, one in known if api != FLEX]
    return BatchesSeen(
        took=tuple(seconds for one in batches for seconds in one.took),
        refused=_refusal(batches),
        flex_refused=_refusal([one for api, one in known if api == FLEX]),
        is_proven=any(one.works for one in batches),
    )


def _refusal(known: Sequence[BatchSupport]) -> str:
    refusals = [one.reason or "it refused them" for one in known if one.works is False]
    return refusals[0] if refusals and not any(one.works for one in known) else ""


def _stored(redis: Redis, cache_keys: Sequence[str]) -> list[bool]:
    with redis.pipeline(transaction=False) as pipeline:
        for key in cache_keys:
            pipeline.exists(ANSWER + key)
        return [bool(found) for found in pipeline.execute()]


@dataclass(frozen=True, slots=True)
class Shutdowns:
    """Shutdowns of models, compared with the day when the work is done."""

    today: date
    done_on: date
    #: The provider's models; None: unknown.
    listed: ListedModels | None = None

    def end_of(self, model: str) -> ModelEnd | None:
        """Return the end of a model, by the provider's list or the table."""
        return end_of(model, self.listed.ends if self.listed else {})

    def is_outlived(self, model: str) -> bool:
        """Return whether the model ends before the work is done."""
        end = self.end_of(model)
        return end is not None and end.on <= self.done_on

    def warnings(self, models: Iterable[str], rules: VisionRules) -> tuple[str, ...]:
        """Return a line for each model that ends early or is not listed."""
        names = sorted(set(models))
        said = [
            *(unlisted_warning(name, self.listed, rules, self.today) for name in names),
            *map(self._said_of_end, names),
        ]
        return tuple(line for line in said if line)

    def _said_of_end(self, model: str) -> str | None:
        end = self.end_of(model)
        if end is None or not self.today < end.on <= self.done_on:
            return warning_for(model, self.today, self.listed.ends if self.listed else {})
        return (
            f"model {model} shuts down on {end.on} ({end.source}), and this work would be done on"
            f" {self.done_on} at the present rate: what is left by then fails{in_its_place(end)}"
        )
