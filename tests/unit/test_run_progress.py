"""What people see of a run adds up."""

from __future__ import annotations

import re
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.run.detached import _local
from producer.run.preview import BalanceCheck, look_at, report
from producer.run.run_progress import (
    Lines,
    Tally,
    in_batches,
    listed,
    standing,
    waits,
    without_answer,
)
from producer.run.session import Outcome, RunCounts
from producer.run.workflow import _exit_code
from producer.stack import REMIND_EVERY, Reminder
from visionq.contract.result import ProviderBatchView
from visionq.ledger.gates import Gate

CODES = ("not_an_image", "too_large", "refused", "incomplete", "corrupt_image", "empty_file", "x")


def written(code: str | None = None, cost: str = "0.5", **fields: Any) -> dict[str, Any]:
    error = None if code is None else {"code": code, "message": ""}
    row = {"id": "1", "text": "", "cost_rub": cost, "cached": False, "error": error}
    return row | fields


def figures(said: str) -> list[int]:
    return [int(one.replace(",", "")) for one in re.findall(r"\d[\d,]*", said)]


@given(
    before=st.dictionaries(st.sampled_from(CODES), st.integers(1, 2000)),
    now=st.lists(st.sampled_from([None, *CODES]), max_size=60),
    good=st.integers(0, 3000),
    more=st.integers(0, 3000),
)
def test_the_line_of_a_run_adds_up(
    before: dict[str, int], now: list[str | None], good: int, more: int
) -> None:
    """Failures by code are all failures, what was paid is no more than what it will cost."""
    failed = Counter(before)
    tally = Tally(
        before=good + failed.total(),
        failed_before=failed,
        paid_before=Decimal(good),
        to_ask=len(now) + more,
        expected=Decimal(1),
    )
    tally.take([written(code) for code in now], Decimal(0), 5.0)
    said = standing(tally, 10.0)
    done, total = figures(said)[:2]
    assert done == good + failed.total() + len(now)
    assert total == done + more
    assert tally.forecast is not None
    assert tally.paid <= tally.forecast
    assert ("left" in said) == (more > 0)
    if failures := (failed + Counter(code for code in now if code)).total():
        (listing,) = re.findall(r"([\d,]+) failed \(([^)]*)\)", said)
        assert figures(listing[0]) == [failures]
        assert sum(int(one.rsplit(" ", 1)[1].replace(",", "")) for one in
                   re.split(r", (?=[a-z])", listing[1])) == failures  # fmt: skip


def test_idle_time_counts_for_no_pace() -> None:
    """While something keeps the work back no time is left to tell, and none of it counts later."""
    tally = Tally(to_ask=30)
    tally.start(0)
    assert tally.eta(5) is None
    tally.take([written()] * 10, Decimal(0), 10)
    assert tally.rate(10) == pytest.approx(1)
    tally.rest(10, rests=True)
    assert tally.eta(500) is None
    tally.rest(500, rests=False)
    assert tally.rate(500) == pytest.approx(1)
    assert tally.eta(500) == pytest.approx(20)
    assert "time left unknown" in standing(tally, 500, rests=True)


def test_what_keeps_back_is_said_again_every_minute(capsys: pytest.CaptureFixture[str]) -> None:
    """At once when it begins, then each minute with any figures, and when it is over."""
    now = 0.0
    lines = Lines(lambda: now)
    for second in range(150):
        now = float(second)
        lines.show(Tally(), f"no worker; {second} jobs wait" if second < 130 else None)
    said = [line for line in capsys.readouterr().err.splitlines() if "done" not in line]
    assert said == [
        "no worker; 0 jobs wait", "no worker; 60 jobs wait", "no worker; 120 jobs wait", "goes on",
    ]  # fmt: skip


def test_a_reminder() -> None:
    """Nothing to say at first is nothing to say."""
    now = 0.0
    reminder = Reminder(lambda: now)
    assert not reminder.is_due(None)
    assert reminder.is_due("a")
    assert not reminder.is_due("a")
    assert reminder.is_due("b")
    now = REMIND_EVERY
    assert reminder.is_due("b")


def test_without_a_worker_that_is_what_is_said() -> None:
    """Nothing else moves a run that nobody works on."""
    census = RunCounts(Gate(), states=Counter(queued=12), unserved="no worker serves visionq.bulk")
    assert waits(census, None) == "no worker serves visionq.bulk; 12 jobs wait"
    assert waits(census, "Redis is away") == "Redis is away"
    assert waits(RunCounts(Gate(), states=Counter(queued=12)), None) is None


def test_rows_in_batches_show_how_far_those_are() -> None:
    """Rows at the provider and rows for the next batch are counted apart."""
    at = datetime(2026, 12, 1, 12, tzinfo=UTC)
    batches = [
        ProviderBatchView(
            id=f"b{hours}", lines=700, completed=100, out_at=at - timedelta(hours=hours)
        )
        for hours in (1, 2)
    ]
    census = RunCounts(
        Gate(),
        states=Counter({"waiting (batch)": 800, "waiting (rate_limited)": 2}),
        lines={"b1": ["x"] * 400, "b2": ["y"] * 300},
        batches=tuple(batches),
        at=at,
    )
    said = waits(census, None)
    assert said == (
        "waiting: 700 rows in 2 batches (200 of 1,400 lines done, the oldest out for 2 h),"
        " 100 rows for the next batch, 2 waiting (rate_limited)"
    )
    assert in_batches(RunCounts(Gate(), states=Counter(in_progress=3))) is None


@given(st.lists(st.sampled_from([None, *CODES]), max_size=40))
def test_the_report_of_a_sample_adds_up(codes: list[str | None]) -> None:
    """Answered and failed are all rows, the codes are all that failed."""
    shown = look_at(written(code) for code in codes)
    lines = list(report(shown, BalanceCheck(None, None, Decimal(1)), None, has_schema=True))
    rows, answered, failed = figures(lines[0])[:3]
    assert rows == answered + failed == len(codes)
    by_code = [line for line in lines if line.startswith("  ") and "%" in line]
    assert sum(figures(line.split(": ")[1])[0] for line in by_code) == failed
    assert shown.spent == Decimal("0.5") * rows


def test_moments_of_runs_are_local_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time noted in UTC is shown by the clock of the machine, with its zone."""
    monkeypatch.setenv("TZ", "MSK-3")
    time.tzset()
    try:
        assert _local("2026-11-29T21:30:05+00:00") == "2026-11-30 00:30 MSK"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_codes_are_listed_to_the_last() -> None:
    """Those for which there is no room are together."""
    many = Counter({code: number for number, code in enumerate(CODES, 1)})
    assert listed(many) == ("x 7, empty_file 6, corrupt_image 5, incomplete 4, refused 3, others 3")


def test_unknown_billing_is_no_failure() -> None:
    """Rows that may have been paid are counted apart from failed ones, without exit code 1."""
    codes = Counter({"billing_unknown": 3, "too_large": 2})
    assert without_answer(codes) == "2 failed (too_large 2), 3 of unknown billing"
    assert without_answer(Counter(billing_unknown=3)) == "3 of unknown billing"
    assert without_answer(Counter()) == ""
    assert _exit_code(Outcome.DONE, codes) == 1
    assert _exit_code(Outcome.DONE, Counter(billing_unknown=3)) == 4
    assert _exit_code(Outcome.DONE, Counter()) == 0
