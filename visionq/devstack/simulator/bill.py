"""The bill: what was received and what was charged, in exact decimals."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(slots=True)
class Tally:
    """Calls with one and the same body."""

    calls: int = 0
    billed: int = 0


@dataclass(slots=True)
class Bill:
    """Every POST received, and the rubles for those that were charged."""

    calls: int = 0
    billed: int = 0
    rub: Decimal = Decimal(0)
    digests: dict[str, Tally] = field(default_factory=dict)

    def receive(self, digest: str) -> None:
        """Count a call, whatever becomes of it."""
        self.calls += 1
        self.digests.setdefault(digest, Tally()).calls += 1

    def charge(self, digest: str, rub: Decimal) -> None:
        """Charge a call that was received and admitted."""
        self.billed += 1
        self.rub += rub
        self.digests.setdefault(digest, Tally()).billed += 1

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
