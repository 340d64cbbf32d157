"""How close a fleet comes to the provider's limit, and how seldom it is refused.

A real fleet works through a backlog against a simulator that allows R requests a minute, with a
burst of one second. The figures are those of the simulator's own bill.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.tables import Table
from tests.e2e.fleet import Fleet, picture, running_fleet
from visionq.names import DISPATCHER
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Threads of all workers together.
_THREADS: Final = 64
#: Calls measured, and seconds after which a measurement ends all the same.
_ENOUGH: Final = 300
_LONGEST: Final = 330.0
#: Seconds before the measurement begins: learning takes time where nobody tells the limit.
_SETTLING: Final = {"setting": 5.0, "headers": 10.0, "unknown": 45.0}
_COLUMNS: Final = (
    "R a minute", "told by", "workers", "calls", "% of R reached", "% answered 429",
    "takes a call", "goal", "met",
)  # fmt: skip


@dataclass(frozen=True)
class _Case:
    rate: float
    told: str
    workers: int
    #: R once it has been reached, where it changes.
    then: float | None = None
    backlog: int = 0


def measure(*, quick: bool = False) -> list[Table]:
    """Measure all cases, or with `quick` the four that say most."""
    fastest = _unlimited()
    cases = list(_cases(fastest, quick=quick))
    rows = [_row(case, _measured(case)) for case in cases]
    note = (
        f"Unlimited, this machine made {fastest:,.0f} calls a minute in the same run; R beyond"
        " 90 % of that is lowered to it. Learning, before the measurement, takes"
        f" {_SETTLING['unknown']:.0f} s where the limit is unknown. `takes a call`: jobs taken from"
        " their lanes for each call, from the first on; each is one claim and one decode."
    )
    return [Table("Pace: a fleet at the provider's limit", _COLUMNS, tuple(rows), note)]


def _cases(fastest: float, *, quick: bool) -> Iterator[_Case]:
    top = min(3000.0, round(fastest * 0.9))
    if quick:
        yield _Case(300, "setting", 4)
        yield _Case(300, "headers", 4)
        yield _Case(300, "unknown", 1)
        yield _Case(300, "headers", 1, then=600)
        return
    for workers in (1, 4, 16):
        yield _Case(top, "setting", workers)
    for told in ("setting", "headers", "unknown"):
        yield _Case(60, told, 4, backlog=10_000 if told == "setting" else 0)
        yield _Case(300, told, 1)
        yield _Case(1000, told, 4)
    yield _Case(top, "unknown", 1)
    yield _Case(300, "headers", 4, then=900)
    yield _Case(900, "headers", 4, then=300)
    yield _Case(300, "unknown", 4, then=600)


def _row(case: _Case, found: dict[str, float]) -> tuple[str | float | None, ...]:
    knows = case.told != "unknown"
    least, most = (95, 2) if knows else (85, 5)
    goal = f"≥ {least} %, < {most} %"
    met = found["reached"] >= least and found["refused"] < most
    takes = found["takes"]
    if case.backlog:
        goal += ", ≤ 1.2 takes"
        met = met and takes <= 1.2  # noqa: PLR2004  # the goal
    rate = f"{case.rate:,.0f}" + (f" → {case.then:,.0f}" if case.then else "")
    figures = (found["calls"], found["reached"], found["refused"], takes)
    return (rate, case.told, float(case.workers), *figures, goal, "yes" if met else "no")


def _unlimited() -> float:
    """Return the calls a minute that this machine makes where nothing limits them."""
    with _fleet(_Case(0, "unknown", 1)) as fleet:
        _submit(fleet, 1500)
        _until(fleet, 200, time.monotonic() + 60)
        before, started = fleet.simulator.bill(), time.monotonic()
        _until(fleet, 1200, started + 60)
        after = fleet.simulator.bill()
        return float(after["calls"] - before["calls"]) * 60 / (time.monotonic() - started)


def _measured(case: _Case) -> dict[str, float]:
    with _fleet(case) as fleet:
        fleet.simulator.configure(
            requests_per_minute=case.rate, rate_headers=case.told == "headers"
        )
        wanted = _ENOUGH + case.rate * (_SETTLING[case.told] + 10) / 60
        if case.then:
            wanted += case.then + _ENOUGH
        _submit(fleet, max(case.backlog, int(wanted * 1.2)))
        time.sleep(_SETTLING[case.told])
        if case.then:
            fleet.simulator.configure(requests_per_minute=case.then)
            # 30 seconds, or as long as 30 calls take.
            time.sleep(max(30, 30 * 60 / case.then))
        return _window(fleet, case.then or case.rate)


def _window(fleet: Fleet, rate: float) -> dict[str, float]:
    before, started = fleet.simulator.bill(), time.monotonic()
    _until(fleet, before["calls"] + _ENOUGH, started + _LONGEST)
    after, seconds = fleet.simulator.bill(), time.monotonic() - started
    calls, billed = after["calls"] - before["calls"], after["billed"] - before["billed"]
    taken: Any = fleet.client._redis.hget(DISPATCHER, "turn")  # noqa: SLF001  # the fleet's own Redis
    return {
        "calls": float(calls),
        "reached": billed * 60 / seconds / rate * 100,
        "refused": (calls - billed) * 100 / max(1, calls),
        "takes": int(taken) / max(1, after["calls"]),
    }


def _until(fleet: Fleet, calls: int, end: float) -> None:
    while fleet.simulator.bill()["calls"] < calls and time.monotonic() < end:
        time.sleep(0.2)


class _fleet:  # noqa: N801  # a context manager used like a function
    """A fleet in a folder of its own, which goes with it."""

    def __init__(self, case: _Case) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="visionq-pace-")
        told = {Settings.model_fields["default_model"].default: {"requests_per_minute": case.rate}}
        extra = {"VISIONQ_LIMITS": json.dumps(told)} if case.told == "setting" else {}
        self._fleet = running_fleet(
            Path(self._folder.name),
            workers=case.workers,
            concurrency=max(4, _THREADS // case.workers),
            extra=extra,
        )

    def __enter__(self) -> Fleet:
        return self._fleet.__enter__()

    def __exit__(self, *error: object) -> None:
        self._fleet.__exit__(*error)  # type: ignore[arg-type]  # as Python passes them
        self._folder.cleanup()


def _submit(fleet: Fleet, count: int) -> None:
    """Submit jobs that all ask the same and reuse nothing: one picture is enough."""
    image = picture(1)
    job = {"prompt": "Что изображено?", "images": [image], "reuse": "off", "max_output_tokens": 64}
    for _ in fleet.client.submit_many(dict(job) for _ in range(count)):
        pass
