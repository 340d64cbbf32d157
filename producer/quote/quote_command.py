"""`visionq quote`: the price of a source, before anything is sent."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from producer.job_options import (
    check_options,
    job_options,
    prompt_options,
    take_job_options,
    take_prompt,
)
from producer.outputs import REFUSED_MARKS, check_not_input, check_table, writing
from producer.prompts import prompt_for
from producer.quote.census import QuotePlan, RefusedPicture
from producer.quote.document import RefusedRow
from producer.quote.making import make_quote
from producer.quote.model_facts import LearnedStatistics
from producer.quote.near_page import check_page, near_page_option, write_page
from producer.run.table import TableForm
from producer.sources import STDIN, open_source, said_of_reading
from producer.sources.opening import source_options, take_source_options
from visionq.cli.provider_account import find_provider, get_model_list
from visionq.cli.record import read_record
from visionq.cli.screen import people_console
from visionq.cli.shared import FILE, errors_as_json, find_redis_url, json_option, print_json
from visionq.errors import RecordRefused
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from producer.quote.document import Quote
    from producer.sources import Source
    from visionq.settings import Settings

_JSONL: Final = ".jsonl"
_CSV: Final = ".csv"
_COLUMNS: Final = tuple(field.name for field in fields(RefusedPicture))


@contextmanager
def refused_file(out: Path) -> Iterator[Callable[[RefusedPicture], None]]:
    """Give a function that adds a refused row; the file is complete after the block.

    Raises:
        RecordRefused: its suffix is unknown, or visionq did not write the file that is there.
        RecordFailed: it can't be written.
    """
    if out.suffix.lower() not in (_JSONL, _CSV):
        raise RecordRefused(f"{out}: --refused ends in {_JSONL} or {_CSV}")
    check_table(out, REFUSED_MARKS)
    # Excel recognises UTF-8 by the byte order mark.
    encoding = "utf-8-sig" if out.suffix.lower() == _CSV else "utf-8"
    with writing(out) as draft, draft.open("x", encoding=encoding, newline="") as file:
        yield _table(file) if out.suffix.lower() == _CSV else _lines(file)


def _table(file: TextIO) -> Callable[[RefusedPicture], None]:
    form, writer = TableForm(), csv.writer(file)
    writer.writerow(_COLUMNS)

    def note(refusal: RefusedPicture) -> None:
        writer.writerow(form.text(getattr(refusal, name)) for name in _COLUMNS)

    return note


def _lines(file: TextIO) -> Callable[[RefusedPicture], None]:
    def note(refusal: RefusedPicture) -> None:
        file.write(json.dumps(asdict(refusal), ensure_ascii=False) + "\n")

    return note


@contextmanager
def noting_refused(
    out: Path | None, rows: list[RefusedRow] | None
) -> Iterator[Callable[[RefusedPicture], None]]:
    """Give a function that adds refused rows to the file and the list.

    Raises:
        RecordRefused, RecordFailed: as `refused_file`.
    """
    with ExitStack() as files:
        write = None if out is None else files.enter_context(refused_file(out))

        def note(refusal: RefusedPicture) -> None:
            if rows is not None:
                rows.append(RefusedRow(**asdict(refusal)))
            if write is not None:
                write(refusal)

        yield note


@click.command()
@click.argument("spec", metavar="SOURCE")
@prompt_options("The question; {column} is filled in; `-` reads stdin.")
@job_options
@source_options
@click.option(
    "--lookup/--no-lookup",
    default=None,
    help="Read every file whole to find cached answers.  [default: only if there can be some]",
)
@click.option(
    "--refused",
    "refused_out",
    type=FILE,
    help="Write all rows that can't become jobs to FILE.csv or FILE.jsonl.",
)
@near_page_option
@json_option
def quote(
    *,
    spec: str,
    prompt: str | None,
    prompt_file: Path | None,
    lookup: bool | None,
    refused_out: Path | None,
    near_page: Path | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401  # click's parameters
) -> None:
    """Show the price of asking about SOURCE, without asking.

    SOURCE: a folder, a glob in quotes, a CSV or JSONL manifest, a list of addresses, an OpenAI
    Batch file, s3://bucket/prefix, or `-`. Only the first bytes of files are read.
    """
    if spec == STDIN and prompt == STDIN:
        raise click.UsageError("SOURCE and prompt can't both come from stdin")
    chosen = take_source_options(options)
    with errors_as_json(as_json), as_queue_unavailable():
        fields = take_job_options(options)
        text = fields.pop("prompt", None)
        if prompt is not None or prompt_file is not None:
            text = take_prompt(prompt, prompt_file, sys.stdin.buffer)
        check_page(near_page, fields.get("near"))
        if refused_out is not None:
            check_not_input(refused_out, [None if spec == STDIN else Path(spec)])
        settings = load_settings()
        example = check_options(fields, settings)
        source = open_source(spec, options=chosen)
        refused: list[RefusedRow] | None = [] if as_json else None
        with (
            statistics_of(settings) as statistics,
            noting_refused(refused_out, refused) as on_refused,
        ):
            # Reading all files is worth it if the model has answered lately.
            looks_up = statistics.has_answers(example) if lookup is None else lookup
            plan = QuotePlan(
                settings=settings,
                rules=load_rules(settings.vision_file),
                prompt=prompt_for(source, text),
                options=fields,
                stored=statistics.stored if looks_up and statistics.redis is not None else None,
                on_refused=on_refused,
                migrations=statistics.migrations(),
            )
            prices = load_prices(settings.prices_file)
            made = make_quote(source.rows(), plan, prices, statistics, now=datetime.now(UTC))
        if near_page is not None:
            write_page(near_page, made)
    if refused is None:
        _print(made, source)
    else:
        whole = made.model_copy(update={"refusals": tuple(refused)})
        print_json({"source": source.description, **whole.to_public()})


@contextmanager
def statistics_of(settings: Settings) -> Iterator[LearnedStatistics]:
    """Give the statistics of the running stack; without one, only the provider's models."""
    ask_for_models = partial(get_model_list, find_provider(settings))
    if settings.redis_url is None and read_record() is None:
        yield LearnedStatistics(None, ask_for_models)
        return
    with connect(find_redis_url(settings), "visionq-cli") as redis:
        yield LearnedStatistics(redis, ask_for_models)


def _print(made: Quote, source: Source) -> None:
    from producer.quote.rendering import draw  # noqa: PLC0415  # only for people

    people_console().print(draw(made, source.description))
    for said in said_of_reading(source):
        click.echo(said)
