"""Noting which models the provider lists, and when they end, for those who may not have the key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.names import MAINTENANCE
from visionq.pricing.model_list import note_model_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from visionq.pricing.model_list import ModelList

#: Seconds: one process of the fleet asks.
_REST: Final = 600


@dataclass(frozen=True)
class Models:
    """Writes down the provider's models now and then."""

    redis: Redis
    read_models: Callable[[], ModelList | None]

    def run(self) -> None:
        """Ask, unless another process has lately; what can't be had leaves the list as it is."""
        if not self.redis.set(f"{MAINTENANCE}models-read", "1", ex=_REST, nx=True):
            return
        listed = self.read_models()
        if listed is not None:
            note_model_list(self.redis, listed)
