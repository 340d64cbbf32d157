"""What a run asks and how, checked before anything is paid."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from producer.job_options import check_options, take_prompt, take_schema
from producer.outputs import check_not_input, check_table
from producer.prompts import job_fields, prompt_for
from producer.run.selection import Again
from producer.run.table import JSONL, TableForm, check_kind, record_path
from producer.sources import STDIN, open_source, take_row_pictures
from visionq.contract import Priority
from visionq.pricing.prices import load_prices
from visionq.sdk.submitting import Draft, draft, most_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal
    from typing import BinaryIO

    from producer.prompts import Prompt
    from producer.sources import Row, Source, SourceOptions
    from visionq.contract import JobDocument
    from visionq.settings import Settings

#: What makes answers comparable, beside the prompt: a record holds answers to one question alone.
_SHAPING: Final = ("model", "detail", "answer_schema")
#: Likewise, where they are given.
_SHAPING_TOO: Final = ("instructions", "extra_body", "effort")


@dataclass(frozen=True)
class Question:
    """The prompt, in which `{column}` stands for a row's own value, and the other job fields."""

    #: None where the rows bring their own.
    prompt: Prompt | None
    #: `model`, `api`, `detail`, `answer_schema`, `max_output_tokens`, `tenant`, … as far as given.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The fingerprint of a source whose rows bring their own prompts.
    source: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """Names the question in every row of its record: prompt, model, detail and schema."""
        shape = {"detail": "auto", **self.options}
        asked = [self.prompt.text if self.prompt else "", self.source]
        told = [{name: shape[name]} for name in _SHAPING_TOO if shape.get(name)]
        return _digest([*asked, *(shape.get(name) for name in _SHAPING), *told])[:16]

    def draft(self, row: Row, settings: Settings, run: str, attempt: int) -> Draft:
        """Return the job of a row, its pictures read.

        Its id follows from what it asks, so that whoever asks the same again for the same run
        finds the job that is out instead of paying for another.

        Raises:
            InvalidJob: a field is wrong, or the row lacks what its prompt names.
            ImageError: a picture can't be read, is empty or too large.
        """
        fields = job_fields(row, self.prompt, self.options)
        fields["images"] = take_row_pictures(row.images, most_bytes(fields, settings))
        fields |= {"priority": Priority.BULK.value, "batch_id": run}
        drafted = draft(fields, settings, "-")
        job_id = _job_id(run, row.id, attempt, drafted.job.document)
        return replace(drafted, job=replace(drafted.job, id=job_id))


def run_id(record: str, question: Question) -> str:
    """Return the id of a run: of one question into one file, given by its absolute path."""
    return f"run-{_digest([record, question.fingerprint])[:16]}"


def _job_id(run: str, row_id: str, attempt: int, document: JobDocument) -> str:
    return f"{run}-{_digest([row_id, attempt, document.to_compact_json()])[:24]}"


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


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
