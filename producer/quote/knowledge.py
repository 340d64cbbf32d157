"""What a running stack knows: how models count, how long answers are, which answers are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from visionq.ledger.overview import overview
from visionq.ledger.usage import kind_of, read_calibrations, read_outputs
from visionq.names import ANSWER, USAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from visionq.ledger.usage import Calibration, Output


@dataclass(frozen=True)
class Knowledge:
    """Nothing, where no stack runs."""

    redis: Redis | None = None

    def calibrations(self, kinds: Sequence[str]) -> Mapping[str, Calibration | None]:
        """Return what was learned of each `model:detail`."""
        return read_calibrations(self.redis, kinds) if self.redis is not None else {}

    def outputs(self, questions: Sequence[str]) -> Mapping[str, Output]:
        """Return how long the answers to questions are."""
        return read_outputs(self.redis, questions) if self.redis is not None else {}

    def stored(self, content_keys: Sequence[str]) -> list[bool]:
        """Return which have a stored answer, in one round trip."""
        if self.redis is None:
            return [False] * len(content_keys)
        with self.redis.pipeline(transaction=False) as pipeline:
            for key in content_keys:
                pipeline.exists(ANSWER + key)
            return [bool(found) for found in pipeline.execute()]

    def has_answers(self, model: str, detail: str) -> bool:
        """Return whether the model has been asked at that `detail` within the last months."""
        key = USAGE + kind_of(model, detail)
        return self.redis is not None and bool(self.redis.exists(key))

    def per_minute(self) -> float | None:
        """Return the pace of the last minutes; None: nothing ended."""
        return (overview(self.redis).rate.per_minute or None) if self.redis is not None else None
