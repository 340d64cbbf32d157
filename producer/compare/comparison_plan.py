"""A comparison that may begin: all that is checked before anything is paid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from producer.compare.answer_fields import FieldKind, rules_of
from producer.compare.golden_set import read_golden
from producer.compare.variants import make_variants
from producer.html_pages import page_begins
from producer.job_options import take_prompt
from producer.outputs import check_begins, check_not_input
from producer.run.run_record import RowAttempt, answered
from producer.run.selection import inputs_of
from producer.sources import STDIN, open_source
from visionq.errors import RecordRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from producer.compare.answer_fields import FieldRule
    from producer.compare.golden_set import GoldenSet
    from producer.compare.variants import Variant
    from producer.run.plan import Question
    from producer.sources import Row, Source, SourceOptions
    from visionq.contract import ResultDocument
    from visionq.ledger import NewJob
    from visionq.settings import Settings

#: The kind of page that a comparison writes, and how its rows begin.
PAGE: Final = "compare"
ROWS_BEGIN: Final = b'{"comparison":'
_SUFFIX: Final = ".jsonl"


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    """Options of a comparison that change no answer."""

    out: Path
    #: Rows to draw; None: the usual number, or all if there are fewer.
    sample: int | None = None
    seed: int = 0
    stratify: str | None = None
    golden: Path | None = None
    #: Fields that are compared otherwise than their schema says.
    rules: Mapping[str, FieldRule] = field(default_factory=dict)
    judge: str | None = None
    max_rub: Decimal | None = None
    retry_failed: bool = False

    @property
    def page(self) -> Path:
        """The HTML beside OUT."""
        return self.out.with_suffix(".html")

    @property
    def folder(self) -> Path:
        """The folder with the answers of each variant."""
        return self.out.with_suffix(".answers")


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A job that has ended, and its answer."""

    job: NewJob
    result: ResultDocument


def known_row(row: Row, question: Question, known: KnownAnswer) -> dict[str, Any]:
    """Return the row of an answer that the ledger has, free of cost."""
    place = RowAttempt(row.number, row.id, file=row.file, inputs=inputs_of(row, question.prompt))
    made = answered(place, question, known.job, known.result)
    return made | {"cached": True, "cost_rub": "0"}


@dataclass(frozen=True)
class ComparisonPlan:
    """The variants, the rows to draw from, and how answers are compared."""

    source: Source
    variants: Sequence[Variant]
    rules: Mapping[str, FieldRule]
    golden: GoldenSet | None
    options: ComparisonOptions
    #: Letter → id of a row → an answer that the ledger has, which is not asked for again.
    known: Mapping[str, Mapping[str, KnownAnswer]] = field(default_factory=dict)

    @cached_property
    def run(self) -> str:
        """The id of the comparison in the ledger, the same when it is resumed."""
        out = str(self.options.out.absolute())
        return f"compare-{hashlib.sha256(out.encode('utf-8', 'backslashreplace')).hexdigest()[:16]}"

    @property
    def texts(self) -> list[str]:
        """The fields that a judge compares."""
        return [name for name, rule in self.rules.items() if rule.kind is FieldKind.TEXT]


def make_comparison_plan(
    spec: str,
    given: Sequence[Mapping[str, Any]],
    options: ComparisonOptions,
    *,
    source_options: SourceOptions,
    asked: Mapping[str, Any],
    settings: Settings,
    stdin: BinaryIO,
) -> ComparisonPlan:
    """Open the source, and make the variants of what the command asks.

    Raises:
        click.UsageError: options contradict each other, or a variant can't be asked.
        InvalidSource: SOURCE or the golden set can't be read.
        RecordRefused: OUT is an input, or was not written by visionq.
    """
    if len(given) < (1 if options.golden else 2):
        raise click.UsageError("give two variants or more, or one and a golden set (--golden)")
    inputs = (Path(spec) if spec != STDIN else None, options.golden, asked.get("prompt_file"))
    check_out(options, inputs)
    if spec == STDIN and asked.get("prompt") == STDIN:
        raise click.UsageError("both SOURCE and the prompt from stdin: give --prompt-file")
    if asked.get("prompt") == STDIN:  # read once, for all variants
        asked = {**asked, "prompt": take_prompt(STDIN, None, stdin)}
    source = open_source(spec, options=source_options, stdin=stdin)
    variants = make_variants(given, base=asked, source=source, settings=settings, stdin=stdin)
    rules = _rules(variants, options.rules)
    golden = read_golden(options.golden, rules) if options.golden is not None else None
    if golden is not None:
        golden.check_fields(rules)
    plan = ComparisonPlan(source, variants, rules, golden, options)
    if options.judge is not None and not plan.texts:
        raise click.UsageError("--judge compares texts, and no field of the answers is one")
    if options.judge is not None and len(variants) == 1:
        raise click.UsageError("--judge compares two answers: give two variants or more")
    return plan


def check_out(options: ComparisonOptions, inputs: Sequence[Path | None] = ()) -> None:
    """Check that OUT and its page can be written, and are none of the inputs.

    Raises:
        RecordRefused: the message says why.
    """
    if options.out.suffix.lower() != _SUFFIX:
        raise RecordRefused(f"{options.out}: OUT ends in {_SUFFIX}; its page is written beside it")
    for path, begins in ((options.out, ROWS_BEGIN), (options.page, page_begins(PAGE).encode())):
        check_not_input(path, inputs)
        check_begins(path, begins)
    if not options.out.absolute().parent.is_dir():
        raise RecordRefused(f"{options.out}: there is no folder {options.out.parent}: create it")


def _rules(variants: Sequence[Variant], given: Mapping[str, FieldRule]) -> dict[str, FieldRule]:
    """Return how each field of any variant is compared."""
    found: dict[str, FieldRule] = {}
    every = [rules_of(one.schema) for one in variants]
    for rules in every:
        found = {**rules, **found}
    first = set(every[0])
    for one, rules in zip(variants[1:], every[1:], strict=True):
        if not first & set(rules):
            raise click.UsageError(
                f"answers to variants {variants[0].letter} and {one.letter} have no field in"
                " common: give both a schema with the same names, or none"
            )
    for name in given:
        if name not in found:
            message = f"there is no field {name!r}; there are: {', '.join(found)}"
            raise click.BadParameter(message, param_hint="--field")
    return {**found, **given}
