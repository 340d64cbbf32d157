"""What a plain caller's message asks of Celery besides its document."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.app.task import Context
from hypothesis import given
from hypothesis import strategies as st

from visionq.errors import InvalidJob
from worker.intake import apply_message_options

DOCUMENT = {"prompt": "What?", "images": [{"url": "https://example.com/a.png"}]}
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone


def apply(document: dict[str, Any] = DOCUMENT, **options: Any) -> dict[str, Any]:
    return apply_message_options(document, Context(options))


def test_nothing_asked() -> None:
    """A message without options leaves its document as it is."""
    plain: dict[str, Any] = {
        "callbacks": None,
        "errbacks": None,
        "chain": None,
        "chord": None,
        "eta": None,
    }
    assert apply(**plain, expires=None, timelimit=[None, None], stamps={}) == DOCUMENT


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"eta": "2026-12-01T12:00:00+00:00"}, "countdown or eta: not supported"),
        ({"stamps": {"order": "7"}}, "stamps: not supported"),
        ({"timelimit": [10, None]}, "time_limit: not supported"),
        ({"timelimit": [None, 10]}, "time_limit: not supported"),
    ],
)
def test_refused_by_name(options: dict[str, Any], says: str) -> None:
    """An impossible option is refused under the name by which callers know it."""
    with pytest.raises(InvalidJob, match=says):
        apply(**options)


@given(own=st.none() | MOMENTS, expires=MOMENTS)
def test_expires_is_a_deadline(own: datetime | None, expires: datetime) -> None:
    """The job may not be called after `expires`, nor after an earlier deadline of its own."""
    document = DOCUMENT if own is None else {**DOCUMENT, "deadline": own.isoformat()}
    deadline = apply(document, expires=expires.isoformat())["deadline"]
    assert datetime.fromisoformat(deadline) == min(own or expires, expires)


def test_expires_of_other_forms() -> None:
    """A moment without a zone is in UTC, as Celery sends it; a moment may be one already."""
    naive = (NOON.replace(tzinfo=None)).isoformat()
    assert apply(expires=naive)["deadline"] == NOON.isoformat()
    assert apply(expires=NOON + timedelta(1))["deadline"] == (NOON + timedelta(1)).isoformat()


@pytest.mark.parametrize("deadline", ["tomorrow", 7, ["2026-12-01"]])
def test_a_deadline_that_is_none(deadline: Any) -> None:
    """A deadline that can't be read is left for the contract, which names the field."""
    document = {**DOCUMENT, "deadline": deadline}
    assert apply(document, expires=NOON.isoformat()) == document
