"""Forecasts compared with the bill by model family, and the savings of shared instructions.

Every family of the price table is quoted before its first answer and after fifty, and both quotes
are compared with what the simulator then bills. Answers are `_ANSWER_TOKENS` long: no table knows
how long answers are, so the first quote guesses. `VISIONQ_BENCH_PICTURES` sets the number of
pictures in the runs with shared instructions (default 5,000).
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from PIL import Image
from redis import Redis

from benchmarks.comparison import progress
from benchmarks.pictures import encoded
from benchmarks.quote import PICTURES, make_mixed, run_command
from benchmarks.tables import Table, goal, goals
from producer.prompts import Prompt
from producer.quote import LearnedStatistics, QuotePlan, make_quote
from producer.sources import Row
from tests.support.fleet import running_fleet
from visionq.pricing.model_options import load_option_table
from visionq.pricing.money import nano_rubles
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.tables import Cells
    from tests.support.fleet import Fleet

#: Picture rule of the family, a priced model of it, and the reasoning effort of its requests.
_FAMILIES: Final = (
    ("tile", "gpt-4o", None),
    ("tile", "gpt-4o-mini", None),
    ("tile, reasoning", "o3", "low"),
    ("patch, 1.62", "gpt-4.1-mini", None),
    ("patch, reasoning", "gpt-5-mini", "low"),
    ("patch", "gpt-5.4-mini", "none"),
    ("patch, reasoning", "gpt-5.5", "low"),
    ("patch", "gpt-5.6-luna", "none"),
    ("patch", "gpt-6-luna", "none"),
    ("patch, reasoning", "gpt-6-luna", "medium"),
    ("patch, reasoning", "gpt-6.1-terra", "low"),
    ("area", "anthropic/claude-haiku-4-5", None),
    ("area, reasoning", "anthropic/claude-sonnet-5-5", "low"),
    ("grid", "google/gemini-2.5-flash", "none"),
    ("fixed", "google/gemini-3.8-flash", "none"),
    ("fixed, reasoning", "google/gemini-3.8-flash", "low"),
)
#: A day on which all of them are available.
_TODAY: Final = "2026-11-29"
_SAMPLE: Final = 50
_ROWS, _QUICK_ROWS = 300, 60
_ANSWER_TOKENS: Final = 85
_PROMPT: Final = "Что на картинке? Ответь одним предложением."
_SIZES: Final = ((640, 480), (800, 800), (1024, 768), (768, 1152), (1280, 720))
#: Allowed error of a quote in percent: before the first answer, and after the sample.
_BLIND_OFF, _MOST_OFF = 15.0, 2.0
#: Of about 3,000 tokens.
_INSTRUCTIONS: Final = "Describe the product as our catalogue does. " * 273
_SHARED_MODEL: Final = "gpt-6-luna"


@dataclass(frozen=True)
class _FamilyBill:
    """Quotes and bill of one family, in rubles."""

    kind: str
    model: str
    effort: str | None
    blind: Decimal
    blind_billed: Decimal
    rest: Decimal
    billed: Decimal
    is_exact: bool

    @property
    def blind_off(self) -> float:
        """Error of the first quote, in percent."""
        return float(abs(self.blind / self.blind_billed - 1) * 100)

    @property
    def off(self) -> float:
        """Error of the quote after the sample, in percent."""
        return float(abs(self.rest / self.billed - 1) * 100)


def measure(*, quick: bool = False) -> list[Table]:
    """Measure each family, then the runs with shared instructions; return the tables."""
    with tempfile.TemporaryDirectory(prefix="visionq-bench-") as name:
        found = list(_families(Path(name), _QUICK_ROWS if quick else _ROWS))
    shared = []
    for mode in ("instructions", "implicit", "off"):
        with tempfile.TemporaryDirectory(prefix="visionq-bench-") as name:
            shared.append(_shared(Path(name), mode, min(PICTURES, 400) if quick else PICTURES))
    return [_table(found), _shared_table(shared), _goals(found, shared)]


def _families(folder: Path, count: int) -> Iterator[_FamilyBill]:
    random = Random(7)  # noqa: S311  # pictures, no secrets
    paths = [_picture(folder, number, random) for number in range(_SAMPLE + count)]
    with (
        running_fleet(folder, workers=2, concurrency=16) as fleet,
        Redis.from_url(fleet.server.url) as redis,
    ):
        fleet.simulator.configure(answer_tokens=_ANSWER_TOKENS, today=_TODAY)
        for kind, model, effort in _FAMILIES:
            progress(f"forecast: {model} {effort or ''}")
            detail = "high" if load_option_table().takes_detail(model) else "auto"
            options = {"model": model, "detail": detail, "effort": effort}
            first, rest = paths[:_SAMPLE], paths[_SAMPLE:]
            blind = _quote(first, redis, options)
            blind_billed = _ask(fleet, first, options)
            made = _quote(rest, redis, options)
            billed = _ask(fleet, rest, options)
            is_exact = fleet.money()["settled"] == nano_rubles(_billed(fleet))
            yield _FamilyBill(kind, model, effort, blind, blind_billed, made, billed, is_exact)


def _picture(folder: Path, number: int, random: Random) -> Path:
    width, height = (side + random.randrange(40) for side in random.choice(_SIZES))
    colour = tuple(random.randrange(256) for _ in range(3))
    path = folder / f"{number:05}.jpg"
    path.write_bytes(encoded(Image.new("RGB", (width, height), colour), "JPEG"))
    return path


def _quote(paths: Sequence[Path], redis: Redis, options: dict[str, Any]) -> Decimal:
    rows = [Row(number, path.name, (str(path),)) for number, path in enumerate(paths, 1)]
    plan = QuotePlan(Settings(), load_rules(), Prompt(_PROMPT), options)
    made = make_quote(rows, plan, load_prices(), LearnedStatistics(redis), now=datetime.now(UTC))
    return made.rub.expected or Decimal(0)


def _ask(fleet: Fleet, paths: Sequence[Path], options: dict[str, Any]) -> Decimal:
    before = _billed(fleet)
    fields = [
        {"prompt": _PROMPT, "images": [path], "priority": "bulk", **options} for path in paths
    ]
    for job in list(fleet.client.submit_many(fields)):
        fleet.client.wait(job, timeout=300)
    return _billed(fleet) - before


def _billed(fleet: Fleet) -> Decimal:
    return Decimal(fleet.simulator.bill()["rub"])


@dataclass(frozen=True)
class _Run:
    """A run with long instructions in one prompt cache mode, in rubles."""

    mode: str
    answered: int
    quoted: Decimal
    billed: Decimal
    settled: int

    @property
    def is_exact(self) -> bool:
        """Whether ledger and bill agree to the nano-ruble."""
        return self.settled == nano_rubles(self.billed)


def _shared(folder: Path, mode: str, count: int) -> _Run:
    progress(f"forecast: {count:,} pictures with shared instructions, prompt cache {mode}")
    make_mixed(folder / "pictures", count, Random(7))  # noqa: S311  # pictures, no secrets
    with running_fleet(folder, workers=2, concurrency=32) as fleet:
        fleet.simulator.configure(answer_tokens=_ANSWER_TOKENS)
        asked = (
            str(folder / "pictures"), "-p", _PROMPT, "--model", _SHARED_MODEL, "--detail", "high",
            "--instructions", _INSTRUCTIONS, "--prompt-cache", mode,
        )  # fmt: skip
        quote = json.loads(run_command(fleet, "quote", *asked, "--json"))
        run_command(fleet, "run", *asked, "--yes", "-o", str(folder / "out.jsonl"), "--json")
        bill = fleet.simulator.bill()
        settled = fleet.money()["settled"]
    quoted = Decimal(quote["rub"]["expected"])
    return _Run(mode, bill["billed"], quoted, Decimal(bill["rub"]), settled)


def _table(found: Sequence[_FamilyBill]) -> Table:
    columns = (
        "family", "model", "effort", "first quote ₽", "bill ₽", "off",
        "after 50 ₽", "bill of the rest ₽", "off after 50", "ledger = bill",
    )  # fmt: skip
    rows = tuple(
        (
            one.kind, one.model, one.effort or "", _rub(one.blind), _rub(one.blind_billed),
            f"{one.blind_off:.1f} %", _rub(one.rest), _rub(one.billed), f"{one.off:.2f} %",
            "yes" if one.is_exact else "no",
        )
        for one in found
    )  # fmt: skip
    note = (
        f"Answers of {_ANSWER_TOKENS} tokens beside reasoning, which a first quote takes for 100."
    )
    return Table("Quotes against the bill, by family", columns, rows, note)


def _shared_table(runs: Sequence[_Run]) -> Table:
    columns = ("prompt cache", "answers", "quoted ₽", "bill ₽", "ledger ₽", "ledger = bill")
    rows = tuple(
        (
            run.mode, run.answered, _rub(run.quoted), str(run.billed),
            str(Decimal(run.settled) / 10**9), "yes" if run.is_exact else "no",
        )
        for run in runs
    )  # fmt: skip
    note = f"{_SHARED_MODEL}, mixed pictures, instructions of about 3,000 tokens."
    return Table("Runs with shared instructions", columns, rows, note)


def _goals(found: Sequence[_FamilyBill], runs: Sequence[_Run]) -> Table:
    exact = all(one.is_exact for one in found) and all(run.is_exact for run in runs)
    by_mode = {run.mode: float(run.billed) for run in runs}
    rows: list[Cells] = [
        goal("percent off before the first answer", max(one.blind_off for one in found),
             _BLIND_OFF, at_least=False),
        goal("percent off after 50 answers", max(one.off for one in found),
             _MOST_OFF, at_least=False),
        goal("ledger = bill everywhere", float(exact), 1, at_least=True),
        goal("cost of one breakpoint, of what implicit caching costs",
             by_mode["instructions"] / by_mode["implicit"], 1, at_least=False),
    ]  # fmt: skip
    return goals("Goals of forecasts", rows)


def _rub(amount: Decimal) -> str:
    return f"{amount:.4f}"
