"""Quotes: error against the bill of a mixed set of pictures, and time to quote many.

`VISIONQ_BENCH_PICTURES` sets the number of pictures (default 5,000). The length of the first
answers is a guess, so two quotes are compared with the bill: the one from tables alone, whose span
must contain it, and the one for the rest after a sample.
"""

from __future__ import annotations

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

from benchmarks.pictures import encoded
from benchmarks.tables import Table, goal, goals
from tests.support.fleet import running_fleet

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

PICTURES: Final = int(os.environ.get("VISIONQ_BENCH_PICTURES", "5000"))
_QUICK: Final = 400
#: Rows of the sample.
_SAMPLE: Final = 50
#: Local JPEGs in the timed quote.
_TIMED: Final = 10_000
_OPTIONS: Final = ("-p", "Что на картинке? Ответь одним предложением.", "--detail", "high")
_SIZES: Final = ((64, 48), (320, 240), (640, 480), (800, 800), (1200, 300), (1024, 1536))
_KINDS: Final = ("JPEG", "PNG", "WEBP")
#: Of every twenty files: copies of an earlier one, and files that are no usable picture.
_OF, _COPIES, _REFUSED = 20, 2, 1
_MOST_OFF: Final = 2.0


@dataclass(frozen=True)
class _Bill:
    """A quote and the bill of the same rows, in rubles."""

    rows: int
    refused: int
    duplicates: int
    low: float
    expected: float
    high: float
    billed: float

    @property
    def off(self) -> float:
        """Error of the quote, in percent."""
        return abs(self.expected / self.billed - 1) * 100


def measure(*, quick: bool = False) -> list[Table]:
    """Quote and run generated pictures; return the tables that compare quote and bill."""
    count = min(PICTURES, _QUICK) if quick else PICTURES
    with tempfile.TemporaryDirectory(prefix="visionq-bench-") as name:
        folder = Path(name)
        make_mixed(folder / "pictures", count, Random(7))  # noqa: S311  # pictures, no secrets
        with running_fleet(folder, workers=2, concurrency=32) as fleet:
            bills = _bills(fleet, folder)
        seconds = _timed(folder)
    return [_table(bills), _goals(bills, seconds)]


def make_mixed(folder: Path, count: int, random: Random) -> None:
    """Write pictures of several kinds and sizes, including copies and unusable files."""
    folder.mkdir(parents=True)
    written: list[bytes] = []
    for number in range(count):
        place = number % _OF
        if place < _COPIES and written:
            content = random.choice(written)
        elif place < _COPIES + _REFUSED:
            content = random.choice((b"", b"no picture at all", _bitmap(number)))
        else:
            content = _picture(number, random)
            written.append(content)
        (folder / f"{number:06}.jpg").write_bytes(content)


def _picture(number: int, random: Random) -> bytes:
    width, height = (side + random.randrange(40) for side in random.choice(_SIZES))
    picture = Image.new("RGB", (width, height), tuple(random.randrange(256) for _ in range(3)))
    picture.putpixel((0, 0), (number % 256, number // 256 % 256, 0))  # differs from every other
    return encoded(picture, random.choice(_KINDS))


def _bitmap(number: int) -> bytes:
    return encoded(Image.new("RGB", (64, 48), (number % 256, 0, 0)), "BMP")


def _bills(fleet: Fleet, folder: Path) -> dict[str, _Bill]:
    """Run the sample, then the rest; pair each quote with its bill."""
    pictures = [*_OPTIONS, "--yes", "-o", str(folder / "out.jsonl"), "--json"]
    blind = _quoted(fleet, folder)
    before = _billed(fleet)
    # `--first --yes` would run the rest as well, so the sample has its own folder.
    sample = folder / "sample"
    sample.mkdir()
    for path in sorted((folder / "pictures").iterdir())[:_SAMPLE]:
        path.rename(sample / path.name)
    run_command(fleet, "run", str(sample), *_OPTIONS, "--yes", "-o", str(folder / "sample.jsonl"))
    sampled = _billed(fleet)
    rest = _quoted(fleet, folder)
    run_command(fleet, "run", str(folder / "pictures"), *pictures)
    after = _billed(fleet)
    return {"by tables": _bill(blind, after - before), "of the rest": _bill(rest, after - sampled)}


def _bill(quote: dict[str, Any], billed: Decimal) -> _Bill:
    low, expected, high = (float(quote["rub"][name]) for name in ("low", "expected", "high"))
    refused = sum(quote["refused"].values())
    free = quote["duplicates"] + quote["stored"]
    return _Bill(quote["rows"], refused, free, low, expected, high, float(billed))


def _quoted(fleet: Fleet, folder: Path) -> dict[str, Any]:
    said = run_command(fleet, "quote", str(folder / "pictures"), *_OPTIONS, "--json")
    quote: dict[str, Any] = json.loads(said)
    return quote


def _billed(fleet: Fleet) -> Decimal:
    return Decimal(fleet.simulator.bill()["rub"])


def run_command(fleet: Fleet | None, *arguments: str) -> str:
    """Run a `visionq` command, on a fleet if given; return its output."""
    url = {"VISIONQ_REDIS_URL": fleet.server.url} if fleet else {}
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "visionq.cli", *arguments],
        env={**os.environ, **url},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):  # 1: some rows are unusable on purpose
        sys.exit(done.stderr)
    return done.stdout


def _timed(folder: Path) -> float:
    """Return the seconds to quote many JPEGs, including the start of the command."""
    many = folder / "many"
    many.mkdir()
    for number in range(_TIMED):
        picture = Image.new("RGB", (640 + number % 50, 480), (number % 256, number // 256, 0))
        (many / f"{number}.jpg").write_bytes(encoded(picture, "JPEG"))
    began = time.perf_counter()
    run_command(None, "quote", str(many), *_OPTIONS, "--no-lookup", "--json")
    return time.perf_counter() - began


def _table(bills: dict[str, _Bill]) -> Table:
    columns = ("quote", "rows", "refused", "free", "low ₽", "expected ₽", "high ₽", "bill ₽", "off")
    rows = tuple(
        (
            name, one.rows, one.refused, one.duplicates,
            one.low, one.expected, one.high, one.billed, f"{one.off:.2f} %",
        )
        for name, one in bills.items()
    )  # fmt: skip
    note = f"`of the rest`: after {_SAMPLE} answers. JPEG, PNG, WEBP; copies; unusable files."
    return Table("A quote against the bill", columns, rows, note)


def _goals(bills: dict[str, _Bill], seconds: float) -> Table:
    blind, rest = bills["by tables"], bills["of the rest"]
    inside = float(blind.low <= blind.billed <= blind.high)
    return goals(
        "Goals of quotes",
        [
            goal("bill within the span of the tables", inside, 1, at_least=True),
            goal("quote after a sample, percent off the bill", rest.off, _MOST_OFF, at_least=False),
            goal(f"seconds to quote {_TIMED:,} JPEGs", seconds, 10, at_least=False),
        ],
    )
