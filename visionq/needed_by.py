"""When an answer is needed, as people say it: a time, its day and zone or not, or a duration."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from visionq.errors import InvalidJob

#: No answer is waited for any longer.
_LONGEST: Final = timedelta(days=30)
_DURATION: Final = re.compile(r"(\d{1,5})\s*(m|min|h|d)")
_SECONDS: Final = {"m": 60, "min": 60, "h": 3600, "d": 86400}
_CLOCK: Final = re.compile(r"(\d{1,2}:\d{2}(?::\d{2})?)(?:\s+(\S+))?")
_MOMENT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)"
    r"(?:\s+(\S+))?"
)
_FORMS: Final = (
    "give a duration (90m, 6h, 1d), or a time (09:00, 2026-12-01T09:00+03:00), with its zone"
)


def moment_needed(said: object, now: datetime, zone: tzinfo | None = None) -> datetime:
    """Parse a deadline: a time of day, a date or a duration.

    Args:
        said: `90m`, `6h`, `1d`; `09:00`, which is the next one; `2026-12-01T09:00`; each time with
            an offset, or a zone by its name behind it: `09:00 Europe/Moscow`. Or a `datetime`, or a
            `timedelta`.
        now: with its zone.
        zone: of a time that names none; None: a zone has to be given.

    Raises:
        InvalidJob: it is none of these, in the past, or more than 30 days away.
    """
    moment = _moment(said, now, zone)
    if moment <= now:
        raise InvalidJob(f"by: {moment.isoformat(timespec='seconds')} is in the past")
    if moment - now > _LONGEST:
        raise InvalidJob(f"by: {moment.isoformat(timespec='seconds')} is more than 30 days away")
    return moment


def _moment(said: object, now: datetime, zone: tzinfo | None) -> datetime:
    if isinstance(said, timedelta):
        return now + said
    if isinstance(said, datetime):
        return _in_zone(said, zone)
    text = said.strip() if isinstance(said, str) else ""
    if found := _DURATION.fullmatch(text):
        return now + timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    try:
        if found := _CLOCK.fullmatch(text):
            return _next(time.fromisoformat(found[1].zfill(5)), now, _zone(found[2], zone))
        if found := _MOMENT.fullmatch(text):
            return _in_zone(datetime.fromisoformat(found[1]), _zone(found[2], zone))
    except ValueError:
        pass  # there is no such day or hour
    raise InvalidJob(f"by: {ascii(said)[:60]} is no time; {_FORMS}")


def _zone(name: str | None, zone: tzinfo | None) -> tzinfo | None:
    if name is None:
        return zone
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise InvalidJob(
            f"by: there is no time zone {ascii(name)[:60]}; such as Europe/Moscow"
        ) from None


def _in_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    if moment.tzinfo is not None:
        return moment
    if zone is None:
        raise InvalidJob(f"by: {moment.isoformat()} has no time zone; add +03:00, or Europe/Moscow")
    return moment.replace(tzinfo=zone)


def _next(clock: time, now: datetime, zone: tzinfo | None) -> datetime:
    if zone is None:
        raise InvalidJob(
            f"by: {clock.isoformat('minutes')} has no time zone; add one, or a duration"
        )
    today = now.astimezone(zone)
    moment = datetime.combine(today.date(), clock, zone)
    if moment <= now:
        moment = datetime.combine(today.date() + timedelta(days=1), clock, zone)
    return moment.astimezone(UTC)
