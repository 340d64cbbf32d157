"""What is made of the figures of a fleet at a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.tables import Cells, Table, goal, goals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.rate_limit.cases import Case

COLUMNS: Final = (
    "R a minute", "told by", "workers", "calls", "% of R reached", "% answered 429",
    "takes a call", "goal", "met",
)  # fmt: skip
#: Least percent of R that is reached, and percent of calls refused that is too much.
_TOLD: Final = (95, 2)
_UNKNOWN: Final = (85, 5)
#: Where far more is queued than the limit lets through.
_MOST_TAKES: Final = 1.2


def judged(case: Case, found: dict[str, float] | str) -> Cells:
    """Return the row of a case from its figures, or from what went wrong."""
    least, most = _UNKNOWN if case.told == "unknown" else _TOLD
    wanted = f"≥ {least} %, < {most} %" + (f", ≤ {_MOST_TAKES} takes" if case.backlog else "")
    rate = f"{case.rate:,.0f}" + (f" → {case.then:,.0f}" if case.then else "")
    head = (rate, case.told, float(case.workers))
    if isinstance(found, str):
        return (*head, None, None, None, None, wanted, f"not measured: {found}")
    met = found["reached"] >= least and found["refused"] < most
    if case.backlog:
        met = met and found["takes"] <= _MOST_TAKES
    figures = (found["calls"], found["reached"], found["refused"], found["takes"])
    return (*head, *figures, wanted, "yes" if met else "no")


def in_words(row: Cells) -> str:
    """Return a row for a line of progress."""
    calls, share, refused, takes, wanted, met = row[3:]
    if calls is None:
        return str(met)
    return (
        f"{calls:.0f} calls, {share:.1f} % of R, {refused:.2f} % answered 429,"
        f" {takes:.3f} takes a call; {wanted}: {met}"
    )


def reached(rows: Sequence[Cells]) -> Table:
    """Return the goals: the worst case of each kind. One that was not measured leaves none."""
    told = [row for row in rows if row[1] != "unknown"]
    unknown = [row for row in rows if row[1] == "unknown"]
    queued = [row for row in rows if "takes" in str(row[7])]
    found = [
        goal("pace: % of a known R, lowest", _worst(told, 4, min), _TOLD[0], at_least=True),
        goal("pace: % answered 429, highest", _worst(told, 5, max), _TOLD[1], at_least=False),
        goal(
            "pace: % of an unknown R, lowest", _worst(unknown, 4, min), _UNKNOWN[0], at_least=True
        ),
        goal(
            "pace: % answered 429 there, highest",
            _worst(unknown, 5, max),
            _UNKNOWN[1],
            at_least=False,
        ),
        goal(
            "pace: takes a call, R = 60, 10,000 queued",
            _worst(queued, 6, max),
            _MOST_TAKES,
            at_least=False,
        ),
    ]
    met = sum(row[-1] == "yes" for row in rows)
    return goals("pace: goals", found, f"{met} of {len(rows)} cases met.")


def _worst(
    rows: Sequence[Cells], column: int, of: Callable[[Iterable[float]], float]
) -> float | None:
    figures = [row[column] for row in rows]
    known = [figure for figure in figures if isinstance(figure, float)]
    return of(known) if known and len(known) == len(figures) else None
