"""How long the provider asks its callers to wait."""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds. Whoever asks for more is asked again after this long.
LONGEST_WAIT: Final = 3600.0

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds to wait, from 0 to `LONGEST_WAIT`; `None` where nothing usable is said.

    `retry-after-ms` goes first. `retry-after` may be seconds, a fraction of them, a date or a
    duration such as `6m0s` (OpenAI's rate-limit guide, 2026). `now`, in seconds since the epoch,
    counts for a date only where the server does not say its own time.
    """
    seconds = _number(headers.get("retry-after-ms", ""))
    if seconds is not None:
        return _bounded(seconds / 1000)
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is None:
        seconds = duration(value)
    if seconds is None:
        seconds = _until(value, _date(headers.get("date", "")) or now)
    return None if seconds is None else _bounded(seconds)


def duration(text: str) -> float | None:
    """Return the seconds of `1s`, `120ms`, `1h2m3.5s`; `None` for anything else."""
    text = text.strip().lower()
    if not _DURATION.fullmatch(text):
        return None
    return math.fsum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text))


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _until(text: str, now: float) -> float | None:
    moment = _date(text)
    return None if moment is None else moment - now


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
