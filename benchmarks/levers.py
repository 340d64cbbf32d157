"""What each way to pay less saves, alone and together, with the books held against the bill.

Five questions about each picture; a quarter of the pictures are copies in another size and quality.
Models of known quality are simulated: `VISIONQ_BENCH_PICTURES` is the number of pictures (default
2,000). The last run has every lever that can be combined, and faults of the provider: refusals,
errors, and connections cut after an answer was billed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from benchmarks.comparison import progress
from benchmarks.tables import Table
from tests.support.fleet import running_fleet
from visionq.ledger.views import spend
from visionq.pricing.money import day_of
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.fleet import Fleet
    from visionq.contract import Spend

PICTURES: Final = int(os.environ.get("VISIONQ_BENCH_PICTURES", "2000"))
CHEAP, STRONG, OTHER = "gpt-6-luna", "gpt-6.1-terra", "gpt-5.6-terra"
PROMISE: Final = 0.9
#: Every fourth picture is a copy of the one before.
_COPIES: Final = 4
_QUESTIONS: Final = ("colour", "kind", "state", "place", "season")
_QUALITY: Final[dict[str, Any]] = {
    "accuracies": {CHEAP: 0.75, STRONG: 1.0, OTHER: 1.0},
    "sureness": {CHEAP: "informed"},
    "latency_s": 0.2,
}
_FAULTS: Final = {"500": 0.01, "429": 0.01, "refusal": 0.02, "cut_after_billing": 0.003}
_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "enum": ["red", "green", "blue", "white", "black"]},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["answer", "confidence"],
    "additionalProperties": False,
}


_COLUMNS: Final = (
    *("lever", "calls", "rubles", "of the strong alone", "books less bill", "unknown calls"),
    *("answered", "as the strong model", "seconds"),
)


@dataclass(frozen=True)
class _Lever:
    """One way to ask."""

    name: str
    options: tuple[str, ...]
    faults: Mapping[str, float]


_STRONG_ALONE: Final = ("--model", STRONG)
_CASCADE: Final = ("--cascade", f"{CHEAP},{STRONG}", "--agree", str(PROMISE))
_NEAR: Final = ("--near", "4")
_LEVERS: Final = (
    _Lever("the strong model alone", _STRONG_ALONE, {}),
    _Lever("one call for all questions", (*_STRONG_ALONE, "--together"), {}),
    _Lever("near-duplicates", (*_STRONG_ALONE, *_NEAR), {}),
    _Lever("cascade", _CASCADE, {}),
    _Lever(
        "cascade, near-duplicates, fallback, under faults",
        (*_CASCADE, *_NEAR, "--fallback", OTHER),
        _FAULTS,
    ),
)


@dataclass(frozen=True)
class _Outcome:
    """What a run cost, and its answers by row."""

    answers: dict[str, str]
    #: Rows whose answer is that of another picture, or of another model than the ladder's.
    elsewhere: frozenset[str]
    books: Spend
    calls: int
    bill: Decimal
    seconds: float


def measure() -> list[Table]:
    """Run each lever on a fresh Redis and return one table."""
    with tempfile.TemporaryDirectory(prefix="visionq-bench-") as name:
        folder = Path(name)
        _make_source(folder)
        found = [
            (lever, _run(lever, folder / str(place), folder)) for place, lever in enumerate(_LEVERS)
        ]
    alone = found[0][1]
    rows = tuple(_row(lever, outcome, alone) for lever, outcome in found)
    note = (
        f"{PICTURES:,} pictures, {len(_QUESTIONS)} questions each; promise of the cascade:"
        f" {PROMISE:.0%}. Agreement leaves out rows that a near-duplicate or a fallback answered,"
        " which no promise covers. The bill also has calls of unknown billing, which the books keep"
        " apart. In shared calls the simulator draws other truths: there is nothing to compare."
    )
    return [Table("Levers on the price", _COLUMNS, rows, note)]


def _row(lever: _Lever, outcome: _Outcome, alone: _Outcome) -> tuple[str | float | None, ...]:
    paid = outcome.books.settled_rub
    own = [row for row in outcome.answers if row not in outcome.elsewhere and row in alone.answers]
    same = sum(outcome.answers[row] == alone.answers[row] for row in own)
    return (
        lever.name,
        outcome.calls,
        float(paid),
        float(paid / alone.books.settled_rub),
        float(paid - outcome.bill),
        outcome.books.unknown_calls,
        len(outcome.answers) / (PICTURES * len(_QUESTIONS)),
        same / len(own) if own and "--together" not in lever.options else None,
        outcome.seconds,
    )


def _make_source(folder: Path) -> None:
    """Write the pictures, the table of questions and the schema."""
    random, before = Random(7), Image.new("RGB", (1, 1))  # noqa: S311  # pictures, no secret
    with (folder / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "file", "question"])
        for number in range(PICTURES):
            if number % _COPIES == _COPIES - 1:
                content = _jpeg(before.resize((360, 270)), 60)
            else:
                before = _drawn(random)
                content = _jpeg(before, 90)
            (folder / f"{number:05}.jpg").write_bytes(content)
            for question in _QUESTIONS:
                asked = f"What is its {question}? How sure are you, from 0 to 1?"
                table.writerow([f"{number:05}-{question}", f"{number:05}.jpg", asked])
    (folder / "schema.json").write_text(json.dumps(_SCHEMA))


def _drawn(random: Random) -> Image.Image:
    """Return a picture with large areas, as photos have, unlike any other."""
    cells = bytes(random.randrange(256) for _ in range(8 * 6 * 3))
    return Image.frombytes("RGB", (8, 6), cells).resize((480, 360), Image.Resampling.BICUBIC)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=quality)
    return target.getvalue()


def _run(lever: _Lever, folder: Path, source: Path) -> _Outcome:
    progress(f"levers: {lever.name}")
    folder.mkdir()
    with running_fleet(folder, workers=2, concurrency=32) as fleet:
        fleet.simulator.configure(**_QUALITY, faults=dict(lever.faults), seed=1)
        began = time.monotonic()
        _ask(fleet, lever, source, folder / "out.jsonl")
        seconds = time.monotonic() - began
        bill = fleet.simulator.bill()
        books = spend(fleet.redis, day_of(time.time(), load_settings().time_zone))
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]
    answered = {row["id"]: row for row in rows if row["data"]}
    return _Outcome(
        answers={name: row["data"]["answer"] for name, row in answered.items()},
        elsewhere=frozenset(name for name, row in answered.items() if _is_elsewhere(row)),
        books=books,
        calls=bill["calls"],
        bill=Decimal(bill["rub"]),
        seconds=seconds,
    )


def _is_elsewhere(row: dict[str, Any]) -> bool:
    return bool(row.get("near")) or row["model"] == OTHER


def _ask(fleet: Fleet, lever: _Lever, source: Path, out: Path) -> None:
    """Run the command until no row can be answered any more."""
    files = ("--schema", str(source / "schema.json"), "-o", str(out))
    command = [
        *(sys.executable, "-m", "visionq.cli", "run", str(source / "questions.csv")),
        *("-p", "{question}", *files, "--yes", "--json", *lever.options),
    ]
    done = subprocess.run(  # noqa: S603  # our own command
        command, env=fleet.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1, 4):  # 4: stopped by the audit, which the table shows
        sys.exit(done.stderr)
