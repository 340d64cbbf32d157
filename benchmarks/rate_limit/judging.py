"""Verdicts on the figures of a fleet at a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.tables import Cells, Table, goal, goals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.rate_limit.cases import Case

COLUMNS: Final = (
    "R a minute", "limit from", "workers", "calls", "% of R reached", "% answered 429",
    "takes a call", "goal", "met",
)  # fmt: skip
#: Percent of R to reach, and the percent of refused calls to stay below.
_KNOWN: Final = (95, 2)
_UNKNOWN: Final = (85, 5)
#: Takes per call with a backlog far beyond the limit.
_MOST_TAKES: Final = 1.2


def judged(case: Case, found: dict[str, float] | str) -> Cells:
    """Return the row of a case from its figures or its error."""
    least, most = _UNKNOWN if case.source == "unknown" else _KNOWN
    wanted = f"≥ {least} %, < {most} %" + (f", ≤ {_MOST_TAKES} takes" if case.backlog else "")
    rate = f"{case.rate:,.0f}" + (f" → {case.then:,.0f}" if case.then else "")
    head = (rate, case.source, float(case.workers))
    if isinstance(found, str):
        return (*head, None, None, None, None, wanted, f"not measured: {found}")
    met = found["reached"] >= least and found["refused"] < most
    if case.backlog:
        met = met and found["takes"] <= _MOST_TAKES
    figures = (found["calls"], found["reached"], found["refused"], found["takes"])
    return (*head, *figures, wanted, "yes" if met else "no")


def in_words(row: Cells) -> str:
    """Return a row as a line of progress."""
    calls, share, refused, takes, wanted, met = row[3:]
    if calls is None:
        return str(met)
    return (
        f"{calls:.0f} calls, {share:.1f} % of R, {refused:.2f} % answered 429,"
        f" {takes:.3f} takes a call; {wanted}: {met}"
    )


def reached(rows: Sequence[Cells]) -> Table:
    """Return the goals: the worst case of each kind, none if a case is unmeasured."""
    known = [row for row in rows if row[1] != "unknown"]
    unknown = [row for row in rows if row[1] == "unknown"]
    queued = [row for row in rows if "takes" in str(row[7])]
    found = [
        goal("rate limit: % of a known R, lowest", _worst(known, 4, min), _KNOWN[0], at_least=True),
        goal(
            "rate limit: % answered 429, highest", _worst(known, 5, max), _KNOWN[1], at_least=False
        ),
        goal(
            "rate limit: % of an unknown R, lowest",
            _worst(unknown, 4, min),
            _UNKNOWN[0],
            at_least=True,
        ),
        goal(
            "rate limit: % answered 429 there, highest",
            _worst(unknown, 5, max),
            _UNKNOWN[1],
            at_least=False,
        ),
        goal(
            "rate limit: takes a call, R = 60, 10,000 queued",
            _worst(queued, 6, max),
            _MOST_TAKES,
            at_least=False,
        ),
    ]
    met = sum(row[-1] == "yes" for row in rows)
    return goals("rate limit: goals", found, f"{met} of {len(rows)} cases met.")


def _worst(
    rows: Sequence[Cells], column: int, of: Callable[[Iterable[float]], float]
) -> float | None:
    figures = [row[column] for row in rows]
    known = [figure for figure in figures if isinstance(figure, float)]
    return of(known) if known and len(known) == len(figures) else None
