"""The plan of a run: what to ask and how, checked before anything is paid."""

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
from producer.quote.near_page import check_page
from producer.run.selection import Again
from producer.run.table import JSONL, TableForm, check_kind, record_path
from producer.run.waste import USUAL_SHARE
from producer.sources import STDIN, open_source, take_row_pictures
from visionq.contract import Lane, Priority
from visionq.model_migrations import NO_MIGRATIONS
from visionq.pricing.prices import load_prices
from visionq.sdk.submitting import Draft, draft, most_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal
    from typing import BinaryIO

    from producer.prompts import Prompt
    from producer.sources import Row, Source, SourceOptions
    from visionq.contract import JobDocument
    from visionq.model_migrations import ModelMigrations
    from visionq.settings import Settings

#: Options that, with the prompt, identify the question; a record has answers to one question.
_SHAPING: Final = ("model", "detail", "answer_schema")
#: Likewise, if they are given.
_SHAPING_IF_GIVEN: Final = ("instructions", "extra_body", "effort")


@dataclass(frozen=True)
class Question:
    """The prompt, with `{column}` for values of a row, and other fields of the jobs."""

    #: None if the rows bring their own.
    prompt: Prompt | None
    #: `model`, `api`, `detail`, `answer_schema`, `max_output_tokens`, `tenant`, … if given.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The fingerprint of a source whose rows bring their own prompts.
    source: str = ""
    #: Which models are asked in the place of others, in rows that name one.
    migrations: ModelMigrations = NO_MIGRATIONS

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the question in every row: a hash of prompt, model, detail and schema."""
        shape = {"detail": "auto", **self.options}
        asked = [self.prompt.text if self.prompt else "", self.source]
        given = [{name: shape[name]} for name in _SHAPING_IF_GIVEN if shape.get(name)]
        return _digest([*asked, *(shape.get(name) for name in _SHAPING), *given])[:16]

    def draft(self, row: Row, settings: Settings, run: str, attempt: int) -> Draft:
        """Return the job of a row with its pictures.

        Its id follows from its content, so that the same row of the same run finds the job in
        progress instead of paying for another.

        Raises:
            InvalidJob: a field is wrong, or the row lacks a value for the prompt.
            ImageError: a picture can't be read, is empty or too large.
        """
        fields = job_fields(row, self.prompt, self.options)
        fields["images"] = take_row_pictures(row.images, most_bytes(fields, settings))
        fields |= {"priority": Priority.BULK.value, "batch_id": run}
        drafted = draft(fields, settings, "-", self.migrations)
        job_id = _job_id(run, row.id, attempt, drafted.job.document)
        return replace(drafted, job=replace(drafted.job, id=job_id))


def run_id(record: str, question: Question) -> str:
    """Return the id of the run of a question into a record, an absolute path."""
    return f"run-{_digest([record, question.fingerprint])[:16]}"


def _job_id(run: str, row_id: str, attempt: int, document: JobDocument) -> str:
    # When its answer is needed, and how it is asked for, makes it no other job.
    same = document.model_copy(update={"by": None, "lane": Lane.AUTO})
    return f"{run}-{_digest([row_id, attempt, same.to_compact_json()])[:24]}"


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


_PLAIN: Final = TableForm()
_NONE: Final = Again()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run that do not change answers."""

    out: Path
    #: Rubles that all rows of OUT together may cost.
    max_rub: Decimal | None = None
    #: Rows of the sample, after which the user decides whether to go on.
    first: int | None = None
    #: Share of the last paid answers that may fail.
    max_waste: float = USUAL_SHARE
    again: Again = _NONE
    #: Ids of the rows to ask about; None: all.
    only: frozenset[str] | None = None
    fresh: bool = False
    yes: bool = False
    ordered: bool = False
    #: Whether the end of stdin stops it: the process that started it is gone.
    ends_with_stdin: bool = False
    #: The page of pairs that look alike.
    near_page: Path | None = None
    #: Form of the table made at the end.
    form: TableForm = _PLAIN

    @property
    def record(self) -> Path:
        """The JSONL that is written; a table is made from it."""
        return record_path(self.out).absolute()

    @property
    def is_table(self) -> bool:
        """Whether a table is made from the record."""
        return self.out.suffix.lower() != JSONL


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run that may begin."""

    source: Source
    question: Question
    options: RunOptions

    @property
    def run(self) -> str:
        """The id of the run in the ledger, the same when it is resumed."""
        return run_id(str(self.options.record), self.question)


def make_plan(
    spec: str,
    options: RunOptions,
    *,
    source_options: SourceOptions,
    asked: Mapping[str, Any],
    settings: Settings,
    stdin: BinaryIO,
    migrations: ModelMigrations = NO_MIGRATIONS,
) -> RunPlan:
    """Open the source and prepare the question from its options, `asked`.

    Raises:
        click.UsageError: options contradict each other, or the model has no price.
        InvalidSource: the source can't be read, or lacks a column of the prompt.
        RecordRefused: OUT has an unknown suffix, is an input, or was not written by visionq.
    """
    check_kind(options.out, options.form)
    read = (Path(spec) if spec != STDIN else None, asked.get("prompt_file"), asked.get("schema"))
    files = (settings.prices_file, settings.vision_file, settings.options_file)
    for written in {options.record, options.out}:
        check_not_input(written, (*read, *files))
    if options.is_table:
        check_table(options.out)
    check_page(options.near_page, asked.get("near"))
    if spec == STDIN and asked.get("prompt") == STDIN:
        raise click.UsageError("both SOURCE and the prompt from stdin: give --prompt-file")
    source = open_source(spec, options=source_options, stdin=stdin)
    _check_columns(options.form.columns or (), source)
    return RunPlan(source, make_question(source, asked, settings, stdin, migrations), options)


def make_question(
    source: Source,
    asked: Mapping[str, Any],
    settings: Settings,
    stdin: BinaryIO,
    migrations: ModelMigrations = NO_MIGRATIONS,
) -> Question:
    """Return the question of a command's options: `prompt`, `prompt_file` and fields of jobs.

    Raises:
        click.UsageError: the prompt is missing, a field is wrong, or the model has no price.
        InvalidSource: the source lacks a column of the prompt.
    """
    options = {name: value for name, value in asked.items() if value is not None}
    text, file = options.pop("prompt", None), options.pop("prompt_file", None)
    recipe = options.pop("recipe", None)
    schema = options.pop("schema", None)
    if schema is not None:
        options["answer_schema"] = take_schema(schema)
    model, tenant = options.get("model"), options.get("tenant")
    options["model"] = migrations.model_of(model, tenant, settings.default_model)
    check_options(options, settings)
    check_price(options["model"], settings)
    given = any(one is not None for one in (text, file, recipe))
    prompt = prompt_for(source, take_prompt(text, file, stdin, recipe) if given else None)
    fingerprint = "" if prompt else source.fingerprint()
    return Question(prompt, options, fingerprint, migrations)


def _check_columns(wanted: Iterable[str], source: Source) -> None:
    """Refuse a column that the source does not have."""
    for name in wanted:
        if name not in source.columns:
            there_are = ", ".join(map(repr, source.columns)) or "none"
            message = f"{source.description} has no column {name!r}; there are: {there_are}"
            raise click.BadParameter(message, param_hint="--column")


def check_price(model: str, settings: Settings, option: str = "--model") -> None:
    """Refuse a model without a price: no budget could be kept.

    Raises:
        click.BadParameter: the table has none; the message names the option.
    """
    if load_prices(settings.prices_file).for_model(model) is None:
        raise click.BadParameter(
            f"no price is known for {model}: check its name, or enter its price in a file of your"
            " own (VISIONQ_PRICES_FILE)",
            param_hint=option,
        )
