"""The short table of the README in two languages, made from the tables of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.peers.contenders import QUEUES, SCRIPT, VISIONQ
from benchmarks.tables import GOAL_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.tables import Cells, Table

    Tables = dict[str, list[Table]]

_QUEUES: Final = frozenset(queue.name for queue in QUEUES)
_THREE_DIGITS: Final = 100


@dataclass(frozen=True)
class Words:
    """Texts in one language."""

    columns: str
    full: str
    small: str
    full_cost: str
    overhead_cost: str
    start: str
    #: Placeholders: `met`, `goals`, `date`, `cores`, `python`, `celery`, `redis` and `load`.
    note: str
    point: str


ENGLISH: Final = Words(
    columns="measured | asyncio script | visionq | best queue",
    full="6 MP photo, 1 s latency, our image code (the usual one), jobs/s",
    small="picture that fits, 1 s latency, jobs/s",
    full_cost="6 MP photo, processor ms a job",
    overhead_cost="tiny picture, no latency, processor ms a job",
    start="submit to call at 20 jobs/s, p95 ms",
    note=(
        "{met} of {goals} goals met on {date}: {cores} cores, Python {python}, celery {celery},"
        " redis-py {redis}, load {load}."
    ),
    point=".",
)
RUSSIAN: Final = Words(
    columns="измерено | скрипт на asyncio | visionq | лучшая из очередей",
    full="фото 6 Мп, задержка 1 с, наш код картинок (обычный), заданий/с",  # noqa: RUF001  # Russian
    small="картинка, которая уже подходит, задержка 1 с, заданий/с",  # noqa: RUF001  # Russian
    full_cost="фото 6 Мп, мс процессора на задание",
    overhead_cost="крошечная картинка без задержки, мс процессора на задание",
    start="от отправки до вызова при 20 заданиях/с, p95, мс",  # noqa: RUF001  # Russian
    note=(
        "Достигнуто целей: {met} из {goals}; {date}, ядер: {cores}, Python {python},"
        " celery {celery}, redis-py {redis}, нагрузка {load}."
    ),
    point=",",
)


def short_table(about: dict[str, str], parts: Tables, words: Words) -> str:
    """Return the table without rows that were not measured."""
    rate, cost, late = "jobs/s", "CPU ms a job", "p95 ms"
    rows = [
        _row(words, words.full, _figures(parts, "full", rate), max),
        _row(words, words.small, _figures(parts, "small", rate), max),
        _row(words, words.full_cost, _figures(parts, "full", cost), min),
        _row(words, words.overhead_cost, _figures(parts, "overhead", cost), min),
        _row(words, words.start, _figures(parts, "paced", late), min),
    ]
    goals = [
        row
        for tables in parts.values()
        for table in tables
        if table.columns == GOAL_COLUMNS
        for row in table.rows
    ]
    note = words.note.format(
        met=sum(row[-1] == "yes" for row in goals),
        goals=len(goals),
        load=about["load before"],
        python=about["Python"],
        **{name: about[name] for name in ("date", "cores", "celery", "redis")},
    )
    lines = [f"| {words.columns} |", "|---|---|---|---|", *(row for row in rows if row)]
    return "\n".join([*lines, "", note])


def _figures(parts: Tables, part: str, column: str) -> dict[tuple[str, str], float]:
    """Return a column of the first table of a part: (contender, image code) → figure."""
    found: dict[tuple[str, str], float] = {}
    for table in parts.get(part, [])[:1]:
        if column not in table.columns:
            continue
        for row in table.rows:
            value = row[table.columns.index(column)]
            key = (str(row[0]), _kind(row))
            if isinstance(value, int | float):
                found.setdefault(key, float(value))
    return found


def _kind(row: Cells) -> str:
    """Return the image code of a row; tables without that column use ours."""
    return "usual" if row[1] == "usual" else "ours"


def _row(
    words: Words,
    name: str,
    found: dict[tuple[str, str], float],
    best: Callable[[Iterable[float]], float],
) -> str:
    own = found.get((VISIONQ.name, "ours"))
    if own is None:
        return ""
    cells = []
    for names in ({SCRIPT.name}, {VISIONQ.name}, _QUEUES):
        ours, usual = (_best(found, names, code, best) for code in ("ours", "usual"))
        text = "-" if ours is None else _number(words, *ours, names)
        cells.append(text if usual is None else f"{text} ({_number(words, *usual, names)})")
    return f"| {name} | {' | '.join(cells)} |"


def _best(
    found: dict[tuple[str, str], float],
    names: Iterable[str],
    code: str,
    best: Callable[[Iterable[float]], float],
) -> tuple[str, float] | None:
    figures = {name: found[name, code] for name in names if (name, code) in found}
    if not figures:
        return None
    value = best(figures.values())
    return next(name for name, one in figures.items() if one == value), value


def _number(words: Words, name: str, value: float, names: Iterable[str]) -> str:
    shown = f"{value:.0f}" if value >= _THREE_DIGITS else f"{value:.3g}"
    shown = shown.replace(".", words.point)
    return f"{name} {shown}" if len(set(names)) > 1 else shown
