"""The page of `visionq status`: its figures, and what people see."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from visionq.cli.status_screen import MOST_ROWS, screen
from visionq.contract import Spend
from visionq.contract.result import ProviderBatchView
from visionq.ledger.gates import Gate
from visionq.ledger.overview import (
    RATE_WINDOW,
    HeldScopes,
    LaneView,
    Overview,
    Rate,
    WorkerView,
    eta_of,
    pace_of,
    rate_of,
)
from visionq.ledger.overview_page import MOST_EVENTS, Event
from visionq.names import HINT_QUEUES

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def page(**fields: Any) -> Overview:
    nothing = HeldScopes(jobs=0, reasons={}, counted=0)
    known: dict[str, Any] = {
        "at": NOW,
        "queued": 0,
        "hinted": 0,
        "running": 0,
        "waiting": nothing,
        "parked": nothing,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
        "oldest_submitted_at": None,
        "lanes": (),
        "lane_count": 0,
        "eta_seconds": None,
        "rate": Rate(per_minute=0, ended=0, over_seconds=60),
        "slots": 0,
        "busy": 0,
        "workers": (),
        "gate": Gate(state="open"),
        "spend": Spend(),
    }
    return Overview(**known | fields)


def shown(overview: Overview, width: int = 100, *, simulated: bool = False) -> str:
    console = Console(file=StringIO(), width=width, markup=False, emoji=False)
    console.print(screen(overview, "redis://host:6379/0", simulated=simulated))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def worker(**fields: Any) -> WorkerView:
    known: dict[str, Any] = {
        "id": "w",
        "host": "box",
        "pid": 7,
        "queues": HINT_QUEUES,
        "slots": 64,
        "busy": 3,
        "started_at": NOW - 3700 * SECOND,
        "seen_at": NOW - 2 * SECOND,
        "alive": True,
    }
    return WorkerView(**known | fields)


@pytest.mark.parametrize(
    ("events", "per_minute", "seconds"),
    [
        ([], 0, 60),
        ([(999.0, "completed"), (990.0, "failed")], 2, 60),
        ([(999.0, "completed"), (999.0, "cancelled"), (999.0, "waiting")], 1, 60),
        ([(999.0, "completed"), (800.0, "completed")], 0.6, 200),
        ([(999.0, "completed"), (1000 - RATE_WINDOW - 1, "completed")], 1, 60),
        ([(990.0, "completed")] * 20, 120, 10),
        ([(990.0, "completed")] * MOST_EVENTS, MOST_EVENTS * 6, 10),
    ],
)
def test_rate(events: list[tuple[float, str]], per_minute: float, seconds: float) -> None:
    """The rate counts answers, good or bad, over what the latest events cover."""
    assert rate_of([Event(*one) for one in events], 1000.0) == Rate(
        per_minute=per_minute,
        ended=sum(s in {"completed", "failed"} and m > 700 for m, s in events),
        over_seconds=seconds,
    )


@pytest.mark.parametrize(
    ("unfinished", "per_minute", "seconds"), [(0, 0, 0), (10, 0, None), (10, 30, 20)]
)
def test_eta(unfinished: int, per_minute: float, seconds: float | None) -> None:
    """Without a rate nobody can tell when a backlog ends; an empty one has ended."""
    assert eta_of(unfinished, per_minute) == seconds


@pytest.mark.parametrize(
    ("moments", "at_work_since", "pace"),
    [
        # Single questions, now and then, make no rate.
        ([999.0], None, None),
        ([range_ * 20.0 for range_ in range(49, 35, -1)], None, None),
        # A burst, and idle time since: what it was while there was work.
        ([800.0 - number for number in range(30)], None, 60),
        ([800.0 - number for number in range(30)] + [750.0] * 5, None, 60),
        # Jobs have been waiting all the time: slow ends are a rate, and so is the time since.
        ([990.0 - 20 * number for number in range(14)], 700.0, 2.8),
        ([900.0 - number for number in range(20)], 850.0, 8),
        # They came just now, after idle time.
        ([999.0 - number / 2 for number in range(18)] + [700.0] * 9, 990.0, 108),
        ([995.0], 990.0, None),
    ],
)
def test_idle_time_counts_for_no_pace(
    moments: list[float], at_work_since: float | None, pace: float | None
) -> None:
    """A rate is of time in which there was work; until enough has ended it is unknown."""
    found = pace_of([Event(moment, "completed") for moment in moments], 1000.0, at_work_since)
    assert found == (None if pace is None else pytest.approx(pace, rel=0.05))


def test_answers_of_batches_make_no_pace() -> None:
    """A batch that has just ended tells nothing of how fast the online lane is."""
    online = [Event(1000.0 - number, "completed") for number in range(30)]
    batch = [Event(999.5, "completed", of_batch=True)] * 500
    assert pace_of(batch, 1000.0, None) is None
    events = sorted(online + batch, key=lambda one: -one.moment)
    assert pace_of(events, 1000.0, None) == pytest.approx(60, rel=0.05)


def test_pace_of_more_events_than_are_read() -> None:
    """The rate of jobs is of the time that the events which were read cover."""
    events = [Event(1000.0 - number / 50, "completed") for number in range(MOST_EVENTS)]
    assert pace_of(events, 1000.0, 500.0) == pytest.approx(3000, rel=0.05)


def test_batches_have_a_row() -> None:
    """One row says how far the batches are, and what waits; jobs in them are in no ETA."""
    out = [
        ProviderBatchView(
            id=f"b{age}", lines=700, completed=age, failed=1, out_at=NOW - age * SECOND
        )
        for age in (60, 600)
    ]
    text = shown(page(batches=tuple(out), unbatched=1200, eta_seconds=60), 80)
    assert "Batches    2  662 of 1,400 lines done, 2 failed, the oldest out for 10" in text
    assert "1,200 jobs wait for the next one" in text
    assert "until all but the parked and those in batches have ended" in text
    lane = LaneView(queue="visionq.batch.responses.bulk", tenant="t", model="m", queued=7)
    assert "batch  t       m" in shown(page(lanes=(lane,), lane_count=1))


def test_a_busy_page() -> None:
    """One screen shows backlog, reasons, rate, ETA, workers, gate and spend."""
    lanes = tuple(
        LaneView(queue="visionq.bulk", tenant=f"t{number}", model="m", queued=1000 - number)
        for number in range(MOST_ROWS + 3)
    )
    text = shown(
        page(
            queued=1_204_331,
            hinted=12,
            running=67,
            oldest_submitted_at=NOW - 7500 * SECOND,
            waiting=HeldScopes(
                jobs=23, reasons={"rate_limited": 20, "provider_unavailable": 3}, counted=23
            ),
            parked=HeldScopes(jobs=40_000, reasons={"insufficient_balance": 1000}, counted=1000),
            rate=Rate(per_minute=41.2, ended=206, over_seconds=300),
            eta_seconds=86_400 * 20.5,
            lanes=lanes,
            lane_count=MOST_ROWS + 3,
            slots=128,
            busy=67,
            workers=(worker(), worker(id="x", pid=8, alive=False, seen_at=NOW - 15 * SECOND)),
            gate=Gate(state="closed", reason="insufficient_balance", since=NOW - 60 * SECOND),
            spend=Spend(
                settled_rub=Decimal("123.456"),
                today_rub=Decimal("12.5"),
                unknown_rub=Decimal(2),
                unknown_calls=1,
            ),
        )
    )
    for words in (
        "1,204,331  oldest 2 h 5 min, 12 more on their way",
        "67  of 128 slots in 1 worker",
        "23  rate_limited 20, provider_unavailable 3",
        "40,000  insufficient_balance 1,000  (of 1,000 looked at)",
        "41.2  a minute, over the last 5 min",
        "20 d 12 h",
        "… 3 more lanes",
        "closed: insufficient_balance, for 1 min",
        "12.50 ₽ paid",
        "123.46 ₽ paid, 0.00 ₽ reserved, up to 2.00 ₽ for 1 call of unknown billing",
        "all jobs ever",
    ):
        assert words in text, text


def test_an_eta_that_nobody_knows() -> None:
    """Behind a closed gate, and without a rate, no time is reported; with one it is beside it."""
    closed = Gate(state="closed", reason="operator", since=NOW)
    assert "unknown: the gate is closed" in shown(page(queued=5, gate=closed))
    assert "unknown so far" in shown(page(queued=5))
    told = shown(page(queued=5, eta_seconds=300, pace_per_minute=1))
    assert "5 min until all but the parked have ended at 1.0 a minute" in told


def test_a_narrow_page_cuts_nothing() -> None:
    """In 80 columns names of tenants and models are wrapped, not cut."""
    tenant = "a-tenant-with-a-long-name-of-thirty-letters"
    lane = LaneView(queue="visionq.bulk", tenant=tenant, model="m" * 40, queued=1)
    text = shown(page(lanes=(lane,), lane_count=1), width=80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_the_simulator_answers_is_not_paid() -> None:
    """With the simulator, no ruble is called paid; else they are."""
    spend = Spend(settled_rub=Decimal(7), today_rub=Decimal(3))
    text = shown(page(spend=spend), simulated=True)
    assert "3.00 ₽ simulated" in text
    assert "7.00 ₽ simulated" in text
    assert "the simulator answers: nothing was paid" in text
    assert "₽ paid" not in text
    assert "7.00 ₽ paid" in shown(page(spend=spend))


def test_an_idle_page() -> None:
    """With nothing to do and nobody to do it, the page says so and has no empty tables."""
    text = shown(page())
    assert "no worker is alive" in text
    assert "QUEUE" not in text
    assert "WORKER" not in text


def test_what_users_wrote_is_shown_as_it_is() -> None:
    """A tenant's name is no markup."""
    lane = LaneView(queue="visionq.bulk", tenant="[red]a", model="m:1", queued=1)
    assert "[red]a" in shown(page(lanes=(lane,), lane_count=1))
