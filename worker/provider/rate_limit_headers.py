"""What the provider's headers say of its rate limits (OpenAI's rate-limit guide, 2026)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from worker.waits import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds. A limit that is used up for longer is asked after all the same.
_LONGEST_RESET: Final = 60.0
#: For a minute; what is beyond says nothing of a limit.
_LEAST_LIMIT: Final = 0.001
_MOST_LIMIT: Final = 1e9


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """Limits for a minute, where the headers name them."""

    requests: float | None = None
    tokens: float | None = None
    #: Seconds until a limit that is used up is whole again.
    reset: float | None = None


def read_rate_limit_headers(headers: Mapping[str, str]) -> RateLimitHeaders:
    """Read `x-ratelimit-limit-…`, `-remaining-…` and `-reset-…`; names in lower case."""
    resets = [
        duration(headers.get(f"x-ratelimit-reset-{kind}", ""), _LONGEST_RESET)
        for kind in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{kind}", "")) == 0
    ]
    known = [reset for reset in resets if reset is not None]
    return RateLimitHeaders(
        requests=_limit(headers, "requests"),
        tokens=_limit(headers, "tokens"),
        reset=max(known, default=None),
    )


def _limit(headers: Mapping[str, str], kind: str) -> float | None:
    limit = _number(headers.get(f"x-ratelimit-limit-{kind}", ""))
    return limit if limit is not None and _LEAST_LIMIT <= limit <= _MOST_LIMIT else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
