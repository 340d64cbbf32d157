"""The simulated account: its models, its limits, its balance and its bill."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, Final

from visionq.devstack.simulator.cache import PrefixCache
from visionq.devstack.simulator.dialects import DIALECTS, UNIFIED, Dialect
from visionq.devstack.simulator.faults import Fault, draw, rate_limited
from visionq.devstack.simulator.model_catalogue import OPENAI
from visionq.devstack.simulator.refusals import by_proxy, insufficient_balance, unknown_model
from visionq.devstack.simulator.simulator_settings import SimulatorSettings, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from visionq.devstack.simulator.model_catalogue import Catalogue


@dataclass(slots=True)
class CallTally:
    """Calls with the same body."""

    calls: int = 0
    billed: int = 0


@dataclass(slots=True)
class Bill:
    """Every POST received, and the rubles for those that were charged."""

    calls: int = 0
    billed: int = 0
    rub: Decimal = Decimal(0)
    digests: dict[str, CallTally] = field(default_factory=dict)
    #: `custom_id` → rubles of each time that the line of a batch was charged.
    batch_lines: dict[str, list[Decimal]] = field(default_factory=dict)

    def receive(self, digest: str) -> None:
        """Count a call, regardless of its outcome."""
        self.calls += 1
        self.digests.setdefault(digest, CallTally()).calls += 1

    def charge(self, digest: str, rub: Decimal, batch_line: str | None = None) -> None:
        """Charge a call that was received and admitted."""
        if batch_line is not None:
            self.batch_lines.setdefault(batch_line, []).append(rub)
        self.billed += 1
        self.rub += rub
        self.digests.setdefault(digest, CallTally()).billed += 1

    def lines_to_public(self) -> dict[str, list[str]]:
        """Return the lines of batches as `GET /simulator/bill/batch_lines` shows them."""
        return {
            custom_id: [format(rub.normalize(), "f") for rub in charged]
            for custom_id, charged in self.batch_lines.items()
        }

    def to_public(self) -> dict[str, Any]:
        """Return the bill as `GET /simulator/bill` shows it; `rub` is a decimal string."""
        return {
            "calls": self.calls,
            "billed": self.billed,
            "rub": format(self.rub.normalize(), "f"),
            "digests": {
                digest: {"calls": tally.calls, "billed": tally.billed}
                for digest, tally in self.digests.items()
            },
        }


def digest_of(body: object) -> str:
    """Return the sha256 of a request body in its canonical form.

    Canonical: JSON with sorted keys, no blanks, UTF-8 unescaped; so that neither the order of keys
    nor the way a client escapes text makes two questions of one.
    """
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


#: Seconds of the limit that may pass at once.
BURST: Final = 1.0
#: What sums of floats may be off by.
ROUNDING: Final = 1e-6


@dataclass(slots=True)
class TokenBucket:
    """A token bucket. A call above the burst size passes when it is full, leaving a debt."""

    per_minute: float
    level: float
    at: float

    @classmethod
    def full(cls, per_minute: float, now: float) -> TokenBucket:
        """Return a full bucket."""
        return cls(per_minute, _capacity(per_minute), now)

    @property
    def rate(self) -> float:
        """Units refilled per second."""
        return self.per_minute / 60

    def wait_for(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` may pass; 0: now. Takes nothing."""
        capacity = _capacity(self.per_minute)
        self.level = min(capacity, self.level + (now - self.at) * self.rate)
        self.at = now
        missing = min(amount, capacity) - self.level
        return missing / self.rate if missing > ROUNDING else 0.0

    def take(self, amount: float) -> None:
        """Take `amount`, once `wait_for` allows it."""
        self.level -= amount

    def headers(self, kind: str) -> dict[str, str]:
        """Return the provider's headers for this limit; `kind` is `requests` or `tokens`."""
        reset = (_capacity(self.per_minute) - self.level) / self.rate
        return {
            f"x-ratelimit-limit-{kind}": f"{self.per_minute:.0f}",
            f"x-ratelimit-remaining-{kind}": str(max(0, int(self.level))),
            f"x-ratelimit-reset-{kind}": duration(reset),
        }


def _capacity(per_minute: float) -> float:
    return max(1.0, per_minute / 60 * BURST)


def duration(seconds: float) -> str:
    """Return a time as the provider writes it: `120ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:.3g}s" if minutes else f"{rest:.3g}s"


NANO_RUBLE = Decimal("1e-9")
#: Kinds of limit, and the setting of each.
LIMITS = {"requests": "requests_per_minute", "tokens": "tokens_per_minute"}


class Account:
    """The whole state of the simulator. Only the event loop touches it."""

    def __init__(
        self,
        catalogue: Catalogue,
        settings: SimulatorSettings,
        clock: Callable[[], float],
    ) -> None:
        """Open an account; `clock` is monotonic seconds."""
        self.catalogue = catalogue
        self.settings = settings
        self.bill = Bill()
        self._clock = clock
        self.cache = PrefixCache(lambda: clock() + self.settings.cache_clock_ahead_s)
        # Faults are repeatable, not secret; those of batches leave those of calls as they are.
        self._random = random.Random(settings.seed)  # noqa: S311
        self.batch_random = random.Random(settings.seed)  # noqa: S311
        self._buckets: dict[tuple[str, str], TokenBucket] = {}

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Merge `changes` into the settings; a wrong one raises a 422 `Refusal`, changing none."""
        self.settings = merged(self.settings, changes)
        if "seed" in changes:
            self._random.seed(self.settings.seed)
            self.batch_random.seed(self.settings.seed)
        for kind, name in LIMITS.items():
            if name in changes:
                self._buckets = {key: each for key, each in self._buckets.items() if key[0] != kind}

    def reset_bill(self) -> None:
        """Start an empty bill; the balance stays as it is."""
        self.bill = Bill()

    def next_fault(self) -> Fault | None:
        """Return the fault of the call just received."""
        ordered = self.settings.faults_next
        if ordered:
            self.settings = self.settings.model_copy(update={"faults_next": ordered[1:]})
            return ordered[0]
        return draw(self.settings.faults, self._random)

    def models(self, base: str) -> list[dict[str, Any]]:
        """Return the models at an address that have not been shut down."""
        own = self.settings.models
        names = self.catalogue.models() if own is None else sorted(own)
        there = [name for name in names if not self._has_ended(name)]
        if base == UNIFIED and self.dialect.unified:
            there = [name if "/" in name else OPENAI + name for name in there]
        elif self.dialect.unified:
            there = [name for name in there if "/" not in name]
        return [self.model(name) for name in there]

    def model(self, name: str) -> dict[str, Any]:
        """Return the row of one model, with its announced end."""
        end = self._end(name)
        vendor, slash, _ = name.partition("/")
        owner = vendor if slash else "openai"
        row = {"id": name, "object": "model", "created": 0, "owned_by": owner}
        return row | {"shutdown_date": end.isoformat() if end else None}

    def check_model(self, model: str, base: str) -> None:
        """Refuse a model that is elsewhere, shut down, or closed to the key."""
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
        """Return the headers with what is left of each limit."""
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
        """Return the dialect of the account's seller."""
        return DIALECTS[self.settings.dialect]

    def priced(self, rub: Decimal) -> Decimal:
        """Return what the seller charges for a list price, to a nano-ruble."""
        factor = Decimal(str(self.settings.price_factor))
        return rub if factor == 1 else (rub * factor).quantize(NANO_RUBLE, ROUND_CEILING)

    def admit(
        self, digest: str, at_most: Decimal, rub: Decimal, batch_line: str | None = None
    ) -> None:
        """Charge `rub` for a call that may cost `at_most`, or refuse with 402."""
        balance = self.settings.balance_rub
        if balance < max(at_most, rub):
            raise insufficient_balance()
        self.settings = self.settings.model_copy(update={"balance_rub": balance - rub})
        self.bill.charge(digest, rub, batch_line)

    def _bucket(self, kind: str, model: str) -> TokenBucket | None:
        per_minute = getattr(self.settings, LIMITS[kind])
        if per_minute is None:
            return None
        key = (kind, model)
        if key not in self._buckets:
            self._buckets[key] = TokenBucket.full(per_minute, self._clock())
        return self._buckets[key]
