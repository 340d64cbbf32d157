"""The account behind the key: settings, limits, balance and bill, and who may pass."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from visionq.devstack.simulator.bill import Bill
from visionq.devstack.simulator.cache import PromptCache
from visionq.devstack.simulator.catalogue import OPENAI
from visionq.devstack.simulator.dialects import DIALECTS, UNIFIED, Dialect
from visionq.devstack.simulator.faults import Fault, draw, rate_limited
from visionq.devstack.simulator.limits import Bucket
from visionq.devstack.simulator.refusals import by_proxy, insufficient_balance, unknown_model
from visionq.devstack.simulator.settings import SimulatorSettings, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from visionq.devstack.simulator.catalogue import Catalogue

NANO_RUBLE = Decimal("1e-9")
#: Kinds of limit, and the setting of each.
LIMITS = {"requests": "requests_per_minute", "tokens": "tokens_per_minute"}


class Account:
    """The whole state of the stand-in. Touched by the event loop alone."""

    def __init__(
        self,
        catalogue: Catalogue,
        settings: SimulatorSettings,
        clock: Callable[[], float],
    ) -> None:
        """Open an account; `clock` is seconds that never go back."""
        self.catalogue = catalogue
        self.settings = settings
        self.bill = Bill()
        self._clock = clock
        self.cache = PromptCache(lambda: clock() + self.settings.cache_clock_ahead_s)
        self._random = random.Random(settings.seed)  # noqa: S311  # faults are repeatable, not secret
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Merge `changes` into the settings; a wrong one raises a 422 `Refusal`, changing none."""
        self.settings = merged(self.settings, changes)
        if "seed" in changes:
            self._random.seed(self.settings.seed)
        for kind, name in LIMITS.items():
            if name in changes:
                self._buckets = {key: each for key, each in self._buckets.items() if key[0] != kind}

    def reset_bill(self) -> None:
        """Start an empty bill; the balance stays as it is."""
        self.bill = Bill()

    def next_fault(self) -> Fault | None:
        """Return what goes wrong with the call that has just been received."""
        ordered = self.settings.faults_next
        if ordered:
            self.settings = self.settings.model_copy(update={"faults_next": ordered[1:]})
            return ordered[0]
        return draw(self.settings.faults, self._random)

    def models(self, base: str) -> list[dict[str, Any]]:
        """Return the rows of the list of models at an address: those that have not ended."""
        own = self.settings.models
        names = self.catalogue.models() if own is None else sorted(own)
        there = [name for name in names if not self._has_ended(name)]
        if base == UNIFIED and self.dialect.unified:
            there = [name if "/" in name else OPENAI + name for name in there]
        elif self.dialect.unified:
            there = [name for name in there if "/" not in name]
        return [self.model(name) for name in there]

    def model(self, name: str) -> dict[str, Any]:
        """Return the row of one model, with the day on which it ends where that is announced."""
        end = self._end(name)
        vendor, slash, _ = name.partition("/")
        owner = vendor if slash else "openai"
        row = {"id": name, "object": "model", "created": 0, "owned_by": owner}
        return row | {"shutdown_date": end.isoformat() if end else None}

    def check_model(self, model: str, base: str) -> None:
        """Refuse a model that is not at the address, has ended, or that the key may not use."""
        if self.dialect.unified and ("/" in model) != (base == UNIFIED):
            raise unknown_model(model)
        own = self.settings.models
        name = model.removeprefix(OPENAI)
        is_there = self.catalogue.knows(model) if own is None else name in own
        if not is_there or self._has_ended(model):
            raise unknown_model(model)
        if model in self.settings.denied_models:
            raise by_proxy(403, f"Model {model} is not allowed for this API key.")

    def _end(self, model: str) -> date | None:
        own = self.settings.shutdown_dates.get(model.removeprefix(OPENAI))
        return own or self.catalogue.end(model)

    def _has_ended(self, model: str) -> bool:
        end = self._end(model)
        return end is not None and end <= (self.settings.today or datetime.now(UTC).date())

    def take_permit(self, kind: str, model: str, amount: float) -> None:
        """Count `amount` requests or tokens against the model's limit, or refuse with 429."""
        bucket = self._bucket(kind, model)
        if bucket is None:
            return
        wait = bucket.wait_for(amount, self._clock())
        if wait > 0:
            raise rate_limited(kind, wait)
        bucket.take(amount)

    def rate_headers(self, model: str) -> dict[str, str]:
        """Return the headers that tell how much of each limit is left."""
        headers: dict[str, str] = {}
        if self.settings.rate_headers:
            for kind in LIMITS:
                bucket = self._bucket(kind, model)
                if bucket is not None:
                    bucket.wait_for(0, self._clock())
                    headers |= bucket.headers(kind)
        return headers

    @property
    def dialect(self) -> Dialect:
        """How the seller of the account speaks."""
        return DIALECTS[self.settings.dialect]

    def priced(self, rub: Decimal) -> Decimal:
        """Return what the seller charges, to a nano-ruble, for a call of such a list price."""
        factor = Decimal(str(self.settings.price_factor))
        return rub if factor == 1 else (rub * factor).quantize(NANO_RUBLE, ROUND_CEILING)

    def admit(self, digest: str, at_most: Decimal, rub: Decimal) -> None:
        """Charge `rub` for a call that may cost `at_most`, or refuse with 402."""
        balance = self.settings.balance_rub
        if balance < max(at_most, rub):
            raise insufficient_balance()
        self.settings = self.settings.model_copy(update={"balance_rub": balance - rub})
        self.bill.charge(digest, rub)

    def _bucket(self, kind: str, model: str) -> Bucket | None:
        per_minute = getattr(self.settings, LIMITS[kind])
        if per_minute is None:
            return None
        key = (kind, model)
        if key not in self._buckets:
            self._buckets[key] = Bucket.full(per_minute, self._clock())
        return self._buckets[key]
