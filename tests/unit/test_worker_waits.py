"""How long others ask us to wait, in all the ways in which servers say it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.retry_after import LONGEST_WAIT, duration, retry_after

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "6m0s"}, 360.0),
        ({"retry-after": "120ms"}, 0.12),
        ({"retry-after": "1m3.5s"}, 63.5),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "999999999"}, LONGEST_WAIT),
        ({"retry-after-ms": "999999999999"}, LONGEST_WAIT),
        ({"retry-after": "9h"}, LONGEST_WAIT),
        ({"retry-after": "Fri, 15 Jan 2077 08:00:00 GMT"}, LONGEST_WAIT),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "9" * 400 + "s"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 99 Foo 2027 99:00:00 GMT"}, None),
    ],
)
def test_retry_after_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, fractions, dates and durations are read; absurd values are bounded."""
    assert retry_after(headers, NOW) == (seconds if seconds is None else pytest.approx(seconds))


def test_a_date_is_measured_by_the_servers_own_clock() -> None:
    """A wrong clock of visionq does not turn a short wait into a long one."""
    headers = {
        "date": "Fri, 15 Jan 2027 08:00:00 GMT",
        "retry-after": "Fri, 15 Jan 2027 08:00:30 GMT",
    }
    assert retry_after(headers, NOW - 10_000) == 30


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2m3.5s", 123.5), ("2d", LONGEST_WAIT), ("5", None), ("", None), ("1s later", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    """A duration is a row of numbers with units, and nothing else is one."""
    assert duration(text) == seconds


_WORDS = st.sampled_from(
    ("9" * 30, "9" * 400, "-", ".", "1e9", "inf", "nan", "²", "٣", "ms", "s", "h", "d", " ", "\0")
)
_DATES = st.builds(
    "{}, {} {} {} {}:00:00 {}".format,
    st.sampled_from(("Fri", "", "Xyz")),
    st.integers(),
    st.sampled_from(("Jan", "Foo", "13")),
    st.integers(),
    st.integers(),
    st.sampled_from(("GMT", "+9999", "-99999999", "")),
)
_TEXTS = st.text() | st.floats().map(str) | st.lists(_WORDS).map("".join) | _DATES


@given(
    headers=st.dictionaries(st.sampled_from(("retry-after", "retry-after-ms", "date")), _TEXTS),
    now=st.floats(0, 1e11),
    longest=st.floats(0, 1e6),
)
def test_nothing_from_outside_breaks_a_bound(
    headers: dict[str, str], now: float, longest: float
) -> None:
    """For any headers, the wait is none or from 0 to the limit, and nothing is raised."""
    waits = (retry_after(headers, now, longest), duration(headers.get("date", ""), longest))
    assert all(wait is None or (math.isfinite(wait) and 0 <= wait <= longest) for wait in waits)
