"""When an answer is needed, as people say it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from visionq.errors import InvalidJob
from visionq.needed_by import moment_needed

MOSCOW = ZoneInfo("Europe/Moscow")
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("90m", NOW + timedelta(minutes=90)),
        ("6h", NOW + timedelta(hours=6)),
        ("1 d", NOW + timedelta(days=1)),
        (timedelta(hours=2), NOW + timedelta(hours=2)),
        ("16:00", datetime(2026, 12, 1, 13, 0, tzinfo=UTC)),
        ("09:00", datetime(2026, 12, 2, 6, 0, tzinfo=UTC)),
        ("9:00 Asia/Omsk", datetime(2026, 12, 2, 3, 0, tzinfo=UTC)),
        ("2026-12-02T09:00", datetime(2026, 12, 2, 6, 0, tzinfo=UTC)),
        ("2026-12-02 09:00 UTC", datetime(2026, 12, 2, 9, 0, tzinfo=UTC)),
        ("2026-12-02T09:00+05:00", datetime(2026, 12, 2, 4, 0, tzinfo=UTC)),
        # As JavaScript and Python write it, who give fractions of a second.
        ("2026-12-02T09:00:30.215Z", datetime(2026, 12, 2, 9, 0, 30, 215_000, tzinfo=UTC)),
        (
            "2026-12-02T09:00:30.215851+00:00",
            datetime(2026, 12, 2, 9, 0, 30, 215_851, tzinfo=UTC),
        ),
        ("2026-12-02T09:00:30Z", datetime(2026, 12, 2, 9, 0, 30, tzinfo=UTC)),
        ("2026-12-02T09:00:30.500000+00:00", datetime(2026, 12, 2, 9, 0, 30, 500_000, tzinfo=UTC)),
    ],
)
def test_times_and_durations(said: object, wanted: datetime) -> None:
    """A duration begins now, a time without a day is the next one, a zone is optional."""
    assert moment_needed(said, NOW, MOSCOW) == wanted


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("2026-11-30T09:00", "is in the past"),
        ("0m", "is in the past"),
        ("31d", "more than 30 days away"),
        ("09:00 Europe/Mosco", "no time zone 'Europe/Mosco'"),
        ("09:00 ../../etc/passwd", "no time zone"),
        ("25:00", "is no time"),
        ("2026-02-30T09:00", "is no time"),
        ("tomorrow", "is no time"),
        ("", "is no time"),
        (7, "is no time"),
        ("99999999h", "is no time"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(said: object, named: str) -> None:
    """Each mistake is named, with the field."""
    with pytest.raises(InvalidJob) as caught:
        moment_needed(said, NOW, MOSCOW)
    assert caught.value.message.startswith("by: ")
    assert named in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("said", ["09:00", "2026-12-02T09:00", NOW.replace(tzinfo=None)])
def test_a_zone_is_needed_where_none_is_assumed(said: object) -> None:
    """A document from elsewhere says its zone, or a duration."""
    with pytest.raises(InvalidJob, match="no time zone"):
        moment_needed(said, NOW)
    assert moment_needed("3h", NOW) == NOW + timedelta(hours=3)
    there = NOW.astimezone(timezone(timedelta(hours=5))) + timedelta(hours=1)
    assert moment_needed(there, NOW) == there
