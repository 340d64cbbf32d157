"""Which models a client of the gateway may ask: those with a price, and those the provider lists.

Whoever writes to Redis itself may name any model: what is new to the tables is asked there first.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from producer.gateway.faults import Fault
from visionq.names import PROVIDER_MODELS
from visionq.pricing.prices import load_prices

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from visionq.settings import Settings

#: Seconds for which the provider's list is not read again.
_FRESH: Final = 30.0


class KnownModels:
    """The models of tables and provider; for threads."""

    def __init__(
        self, redis: Redis, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock
        self._read_at = float("-inf")
        self._listed: frozenset[str] = frozenset()
        self._prices = load_prices()

    def check(self, model: str) -> None:
        """Raise `Fault` for a model that nobody knows: it would only become a line of its own."""
        self._refresh()
        if self._prices.for_model(model) is None and model not in self._listed:
            raise Fault(
                404,
                "model_not_found",
                f"model: {model} has no price here, and the provider does not list it; ask for"
                " another, or have the operator enter its price (VISIONQ_PRICES_FILE)",
                param="model",
            )

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._read_at < _FRESH:
            return
        names: Any = self._redis.smembers(PROVIDER_MODELS)
        self._listed = frozenset(name.decode() for name in names)
        self._prices = load_prices(self._settings.prices_file)
        self._read_at = now
