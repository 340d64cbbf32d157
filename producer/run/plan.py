"""What was wished for on the command line, seen to be possible before anything is paid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from producer.intake import check_options, take_prompt, take_schema
from producer.outputs import check_not_input, check_table
from producer.prompts import prompt_for
from producer.run.export import JSONL, check_kind, record_path
from producer.run.question import Question, run_id
from producer.run.selection import Again
from producer.run.table_form import TableForm
from producer.sources import STDIN, open_source
from visionq.pricing.prices import load_prices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal
    from typing import BinaryIO

    from producer.sources import Source, SourceOptions
    from visionq.settings import Settings


_PLAIN: Final = TableForm()
_NONE: Final = Again()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is to go on; none of it changes an answer."""

    out: Path
    #: Rubles that all rows of OUT together may cost.
    max_rub: Decimal | None = None
    #: Rows of the sample, after which it is asked whether to go on.
    first: int | None = None
    again: Again = _NONE
    #: Ids of the rows that are asked; None: all.
    only: frozenset[str] | None = None
    fresh: bool = False
    yes: bool = False
    ordered: bool = False
    #: Of the table made at the end.
    form: TableForm = _PLAIN

    @property
    def record(self) -> Path:
        """The JSONL that is written, whatever is made of it."""
        return record_path(self.out).absolute()

    @property
    def is_table(self) -> bool:
        """Whether a table is made of the record."""
        return self.out.suffix.lower() != JSONL


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run that may begin."""

    source: Source
    question: Question
    wishes: RunOptions

    @property
    def run(self) -> str:
        """The id by which the ledger knows the run: also when it is begun again."""
        return run_id(str(self.wishes.record), self.question)


def make_plan(
    spec: str,
    wishes: RunOptions,
    *,
    described: SourceOptions,
    asked: Mapping[str, Any],
    settings: Settings,
    stdin: BinaryIO,
) -> RunPlan:
    """Open the source and settle the question; `asked` are the options that shape it.

    `described` is what was said of the source.

    Raises:
        click.UsageError: what was given does not go together, or the model has no price.
        InvalidSource: the source can't be read, or lacks what the prompt names.
        RecordRefused: OUT is of no known kind, a file that is read, or one of somebody else.
    """
    check_kind(wishes.out)
    read = (Path(spec) if spec != STDIN else None, asked.get("prompt_file"), asked.get("schema"))
    files = (settings.prices_file, settings.vision_file, settings.options_file)
    for written in {wishes.record, wishes.out}:
        check_not_input(written, (*read, *files))
    if wishes.is_table:
        check_table(wishes.out)
    if spec == STDIN and asked.get("prompt") == STDIN:
        raise click.UsageError("both SOURCE and the prompt from stdin: give --prompt-file")
    source = open_source(spec, options=described, stdin=stdin)
    _check_columns(wishes.form.columns or (), source)
    return RunPlan(source, _question(source, asked, settings, stdin), wishes)


def _question(
    source: Source, asked: Mapping[str, Any], settings: Settings, stdin: BinaryIO
) -> Question:
    options = {name: value for name, value in asked.items() if value is not None}
    text, file = options.pop("prompt", None), options.pop("prompt_file", None)
    schema = options.pop("schema", None)
    if schema is not None:
        options["answer_schema"] = take_schema(schema)
    options.setdefault("model", settings.default_model)
    check_options(options, settings)
    _check_price(options["model"], settings)
    given = text is not None or file is not None
    prompt = prompt_for(source, take_prompt(text, file, stdin) if given else None)
    return Question(prompt, options, "" if prompt else source.fingerprint())


def _check_columns(wanted: Iterable[str], source: Source) -> None:
    """Refuse a column that the source does not have."""
    for name in wanted:
        if name not in source.columns:
            there_are = ", ".join(map(repr, source.columns)) or "none"
            message = f"{source.description} has no column {name!r}; there are: {there_are}"
            raise click.BadParameter(message, param_hint="--column")


def _check_price(model: str, settings: Settings) -> None:
    """Refuse a model whose calls could not be priced: no budget would hold for it."""
    if load_prices(settings.prices_file).for_model(model) is None:
        raise click.BadParameter(
            f"no price is known for {model}: look at its name, or enter its price in a file of your"
            " own (VISIONQ_PRICES_FILE)",
            param_hint="--model",
        )
