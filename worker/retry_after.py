"""Parse durations in HTTP headers: `Retry-After` and rate-limit resets.

Any header yields `None` or seconds from 0 to a limit; none raises.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds. A server that asks for more is asked again after this long.
LONGEST_WAIT: Final = 3600.0

#: Characters. Dates of HTTP have at most 33; what is longer says nothing of time.
_LONGEST_TEXT: Final = 64
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"(\d{1,40}(?:\.\d{1,40})?)(ms|s|m|h|d)", re.ASCII)
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def retry_after(
    headers: Mapping[str, str], now: float, longest: float = LONGEST_WAIT
) -> float | None:
    """Return the seconds to wait, from 0 to `longest`; `None` without a usable header.

    `retry-after-ms` goes first. `retry-after` may be seconds, a fraction of them, a date or a
    duration such as `6m0s` (OpenAI's rate-limit guide, 2026). `now`, in seconds since the epoch,
    counts for a date only where the server does not say its own time.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000, longest)
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is not None:
        return _bounded(seconds, longest)
    seconds = duration(text, longest)
    if seconds is not None:
        return seconds
    moment, their_now = _date(text), _date(headers.get("date", ""))
    if moment is None:
        return None
    return _bounded(moment - (now if their_now is None else their_now), longest)


def duration(text: str, longest: float = LONGEST_WAIT) -> float | None:
    """Return the seconds of `1s`, `120ms`, `1h2m3.5s`, at most `longest`; else `None`."""
    text = text.strip().lower()
    if len(text) > _LONGEST_TEXT or not _DURATION.fullmatch(text):
        return None
    return _bounded(
        sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text)), longest
    )


def _bounded(seconds: float, longest: float) -> float:
    return min(max(seconds, 0.0), longest)


def _number(text: str) -> float | None:
    text = text.strip()
    if len(text) > _LONGEST_TEXT or not _NUMBER.fullmatch(text):
        return None
    return float(text)


def _date(text: str) -> float | None:
    if len(text) > _LONGEST_TEXT:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
