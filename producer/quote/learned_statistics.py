"""What a running stack knows: how models count, how long answers are, which answers are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import NoPermissionError

from visionq.ledger.overview import overview
from visionq.ledger.usage import kind_of, read_calibrations, read_outputs
from visionq.names import ANSWER, USAGE
from visionq.pricing.model_list import read_model_list

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis import Redis

    from visionq.contract import JobDocument
    from visionq.ledger.usage import Calibration, Output
    from visionq.pricing.model_list import ModelList


T = TypeVar("T")


def _if_allowed(read: Callable[[], T], otherwise: T) -> T:
    """A user of Redis who only submits may see neither answers nor the fleet: nothing is known."""
    try:
        return read()
    except NoPermissionError:
        return otherwise


@dataclass(frozen=True)
class Knowledge:
    """Nothing, where no stack runs."""

    redis: Redis | None = None
    #: Asks the provider itself, for where no worker has.
    ask_for_models: Callable[[], ModelList | None] | None = None

    def calibrations(self, kinds: Sequence[str]) -> Mapping[str, Calibration | None]:
        """Return what was learned of each kind (`kind_of`)."""
        return read_calibrations(self.redis, kinds) if self.redis is not None else {}

    def outputs(self, questions: Sequence[str]) -> Mapping[str, Output]:
        """Return how long the answers to questions are."""
        return read_outputs(self.redis, questions) if self.redis is not None else {}

    def stored(self, content_keys: Sequence[str]) -> list[bool]:
        """Return which have a stored answer, in one round trip."""
        nothing = [False] * len(content_keys)
        redis = self.redis
        if redis is None:
            return nothing
        return _if_allowed(lambda: _stored(redis, content_keys), nothing)

    def has_answers(self, job: JobDocument) -> bool:
        """Return whether a model has been asked like that within the last months."""
        key = USAGE + kind_of(job.model or "", job.detail, job.effort)
        return self.redis is not None and bool(self.redis.exists(key))

    def model_list(self) -> ModelList | None:
        """Return what the provider lists: as a worker noted it, else by asking, else None."""
        redis = self.redis
        noted = _if_allowed(lambda: read_model_list(redis), None) if redis is not None else None
        return noted or (self.ask_for_models() if self.ask_for_models is not None else None)

    def per_minute(self) -> float | None:
        """Return the pace of the last minutes, idle time left out; None: too few have ended."""
        redis = self.redis
        if redis is None:
            return None
        return _if_allowed(lambda: overview(redis).pace_per_minute, None)


def _stored(redis: Redis, content_keys: Sequence[str]) -> list[bool]:
    with redis.pipeline(transaction=False) as pipeline:
        for key in content_keys:
            pipeline.exists(ANSWER + key)
        return [bool(found) for found in pipeline.execute()]
