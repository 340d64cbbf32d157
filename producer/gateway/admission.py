"""Decide whether to accept a call: its model is known, and its job can run."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from producer.gateway.http_errors import ApiError
from visionq.contract import JobView, State
from visionq.errors import BudgetExhausted, ProviderUnavailable, RateLimited
from visionq.ledger.gates import Gate, read_gate
from visionq.ledger.views import behind
from visionq.names import PROVIDER_MODELS
from visionq.pricing.prices import load_prices

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from visionq.settings import Settings

#: Seconds between readings of the provider's list.
_MODELS_FRESH: Final = 30.0


class KnownModels:
    """Models with a price or in the provider's list; for use in threads.

    Other clients of Redis may name any model.
    """

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
        """Raise `ApiError` for an unknown model."""
        self._refresh()
        if self._prices.for_model(model) is None and model not in self._listed:
            raise ApiError(
                404,
                "model_not_found",
                f"model: {model} has no price here, and the provider does not list it; ask for"
                " another, or have the operator enter its price (VISIONQ_PRICES_FILE)",
                param="model",
            )

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._read_at < _MODELS_FRESH:
            return
        names: Any = self._redis.smembers(PROVIDER_MODELS)
        self._listed = frozenset(name.decode() for name in names)
        self._prices = load_prices(self._settings.prices_file)
        self._read_at = now


#: Reasons of parked jobs that go on by themselves.
_TRANSIENT: Final = frozenset({ProviderUnavailable.code, RateLimited.code})
#: Seconds between readings of the gates, for all calls together.
_GATES_FRESH: Final = 0.5
#: Seconds after which a caller may try again.
_RETRY_AFTER: Final = 60.0


class GateWatch:
    """Shows jobs as parked while a gate holds them; reads the gates rarely."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._gate = Gate()
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def shown(self, view: JobView) -> JobView:
        """Return a queued job as parked if its gate is closed."""
        if view.state is not State.QUEUED:
            return view
        async with self._lock:
            if self._clock() - self._read_at >= _GATES_FRESH:
                self._gate = await asyncio.to_thread(read_gate, self._redis)
                self._read_at = self._clock()
        return behind(self._gate, view)


def needs_operator(view: JobView) -> bool:
    """Return whether the job waits for an operator."""
    return view.state is State.PARKED and view.reason not in _TRANSIENT


def refusal(view: JobView) -> ApiError:
    """Return the error for a call that will not wait for such a job."""
    if view.reason == BudgetExhausted.code:
        return ApiError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "insufficient_quota",
            f"the budget of tenant {view.tenant} does not cover this call:"
            " the operator can raise it (`visionq budget set`)",
        )
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "gate_closed",
        f"no call is possible before an operator acts: {view.reason}",
        retry_after=_RETRY_AFTER,
        may_retry=False,
    )
