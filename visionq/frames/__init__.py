"""Questions about the rows of a table in a program: `visionq.map` and `visionq.quote`.

A frame becomes a manifest, `visionq run` asks about it in a process of its own, and the answers in
its record become columns. The record, in a folder beside the notebook, outlives Redis and kernel.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar, Unpack, overload

from visionq.errors import InvalidJob
from visionq.frames.answer_columns import AnswerColumns, answers_in
from visionq.frames.child_process import run_child, wait_for_earlier_run
from visionq.frames.frame_rows import Manifest, table_of
from visionq.sdk.typed import with_schema
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from pydantic import BaseModel

    from visionq.model_migrations import ModelMigrations
    from visionq.settings import Settings

    Schema = type[BaseModel] | dict[str, Any] | None

Frame = TypeVar("Frame")

#: Options that shape the answer, with prompt and schema: each such question has its own record.
#: Not those that let a failed row succeed, such as `max_output_tokens`: answers of others stay.
_SHAPING: Final = (
    "model", "detail", "instructions", "effort", "temperature", "crops", "extra_body",
)  # fmt: skip
#: What the child calls our files.
_ROWS: Final = "rows.jsonl"
_PROMPT: Final = "prompt.txt"
_SCHEMA: Final = "schema.json"


class FrameOptions(TypedDict, total=False):
    """Options of `visionq run` and `visionq quote`, by their names without dashes."""

    model: str
    api: str
    detail: str
    instructions: str
    effort: str
    max_output_tokens: int
    temperature: float
    service_tier: str
    extra_body: dict[str, Any]
    tenant: str
    reuse: str
    near: int
    together: bool
    by: str | timedelta
    lane: str
    crops: bool
    shrink: bool
    convert: bool
    flatten: bool
    first_frame: bool
    no_repair: bool


@dataclass(frozen=True, slots=True)
class FrameQuote:
    """The price of asking about a frame."""

    #: Rows that differ, those to be paid for, and those that can't become jobs, by code.
    rows: int
    asked: int
    refused: dict[str, int]
    #: Rubles.
    low: Decimal
    expected: Decimal
    high: Decimal
    #: All of it, as `visionq quote --json` prints it.
    document: dict[str, Any]

    def __str__(self) -> str:
        return (
            f"{self.asked:,} of {self.rows:,} rows to be paid for, {sum(self.refused.values()):,}"
            f" refused; about {self.expected} ₽ (from {self.low} to {self.high})"
        )


@overload
def map_frame(
    frame: list[Any],
    *,
    prompt: str,
    image: str | Sequence[str] = "image",
    schema: Schema = None,
    max_rub: Decimal | float | str | None = None,
    into: str = "answer",
    id: str | None = None,  # see below
    cache: str | Path = "visionq-cache",
    retry_failed: bool = False,
    **options: Unpack[FrameOptions],
) -> list[dict[str, Any]]: ...


@overload
def map_frame(
    frame: Frame,
    *,
    prompt: str,
    image: str | Sequence[str] = "image",
    schema: Schema = None,
    max_rub: Decimal | float | str | None = None,
    into: str = "answer",
    id: str | None = None,  # see below
    cache: str | Path = "visionq-cache",
    retry_failed: bool = False,
    **options: Unpack[FrameOptions],
) -> Frame: ...


def map_frame(
    frame: object,
    *,
    prompt: str,
    image: str | Sequence[str] = "image",
    schema: Schema = None,
    max_rub: Decimal | float | str | None = None,
    into: str = "answer",
    id: str | None = None,  # noqa: A002  # the column's usual name
    cache: str | Path = "visionq-cache",
    retry_failed: bool = False,
    **options: Unpack[FrameOptions],
) -> Any:  # see its overloads
    """Return a frame with the answers about its rows' pictures as columns.

    `frame` is a pandas or polars frame, an Arrow table, a list of dicts or a list of pictures. Each
    cell of `image` has a path, an address or bytes, or several of them. `prompt` may have
    `{column}` for values of the row. `into` becomes a struct with `schema`, else a text; beside it
    are its errors and costs. Rows keep their order; equal rows are asked about once.

    Called again with the same question, also in another process, it asks only about rows that
    `cache` has no answer to; delete that folder to start again. With `max_rub`, the rows of the
    frame cost no more, and those that were left out have the error `budget_exhausted`.

    Raises:
        InvalidSource: the frame has no such column, or it is none.
        InvalidJob: prompt, schema or an option is wrong.
        VisionqError: the run can't go on; the cache keeps all answers.
    """
    asked = _FrameQuestion(frame, image, id, prompt=prompt, schema=schema, options=dict(options))
    columns = AnswerColumns(into, asked.schema)
    columns.check(asked.table.columns)
    record = asked.record_in(Path(cache))
    others = [row for key, row in answers_in(record).items() if key not in asked.ids]
    spent_on_others = sum((Decimal(row["cost_rub"]) for row in others), Decimal(0))
    more = ["-o", str(record), "--yes", "--no-columns", "--retry-changed", "--end-with-stdin"]
    if max_rub is not None:
        more += ["--max-rub", format(_amount(max_rub) + spent_on_others, "f")]
    if retry_failed:
        more.append("--retry-failed")
    if asked.ids:
        wait_for_earlier_run(record)
        asked.run("run", more)
    return asked.table.with_columns(columns.made_of(asked.manifest.ids, answers_in(record)))


def quote_frame(
    frame: object,
    *,
    prompt: str,
    image: str | Sequence[str] = "image",
    schema: Schema = None,
    id: str | None = None,  # noqa: A002  # as above
    **options: Unpack[FrameOptions],
) -> FrameQuote:
    """Return the price of `visionq.map` without a cache; submit nothing.

    Raises:
        InvalidSource: the frame has no such column, or it is none.
        InvalidJob: prompt, schema or an option is wrong.
    """
    asked = _FrameQuestion(frame, image, id, prompt=prompt, schema=schema, options=dict(options))
    said = asked.run("quote", [])
    low, expected, high = (Decimal(said["rub"][name]) for name in ("low", "expected", "high"))
    return FrameQuote(said["rows"], said["asked"], dict(said["refused"]), low, expected, high, said)


class _FrameQuestion:
    """A frame, and the question about its rows."""

    def __init__(
        self,
        frame: object,
        image: str | Sequence[str],
        id_column: str | None,
        *,
        prompt: str,
        schema: Schema,
        options: dict[str, Any],
    ) -> None:
        if not isinstance(prompt, str) or not prompt.strip():
            raise InvalidJob("prompt: give the question as a text")
        images = (image,) if isinstance(image, str) else tuple(image)
        self.prompt, self.options = prompt, options
        self.schema: dict[str, Any] | None = with_schema({"schema": schema}).get("answer_schema")
        self.table = table_of(frame, images[0])
        self.manifest = Manifest(self.table, images, id_column, prompt)
        self.ids = frozenset(self.manifest.ids)
        self._settings = load_settings()

    def record_in(self, cache: Path) -> Path:
        """Return the path of the record of this question."""
        named, tenant = self.options.get("model"), self.options.get("tenant")
        model = _found_migrations(self._settings).model_of(
            named, tenant, self._settings.default_model
        )
        shape = {**self.options, "model": model}
        shaping = _as_arguments({name: shape.get(name) for name in _SHAPING})
        asked = [self.prompt.strip(), self.schema, shaping]
        text = json.dumps(asked, ensure_ascii=False, sort_keys=True)
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
        cache.mkdir(parents=True, exist_ok=True)
        made_up = "-simulated" if _simulates(self._settings) else ""
        return (cache / f"{digest}{made_up}.jsonl").absolute()

    def run(self, command: str, more: Sequence[str]) -> Any:  # noqa: ANN401  # what it prints as JSON
        """Run a command on the manifest; return what it prints."""
        with tempfile.TemporaryDirectory(prefix="visionq-") as folder:
            rows, prompt, schema = (Path(folder) / name for name in (_ROWS, _PROMPT, _SCHEMA))
            self.manifest.write(rows)
            prompt.write_text(self.prompt, "utf-8")
            words = [command, str(rows), "--prompt-file", str(prompt), *self.manifest.arguments]
            if self.schema is not None:
                schema.write_text(json.dumps(self.schema, ensure_ascii=False), "utf-8")
                words += ["--schema", str(schema)]
            return run_child([*words, *_as_arguments(self.options), *more, "--json"])


def _as_arguments(options: Mapping[str, Any]) -> list[str]:
    arguments: list[str] = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif isinstance(value, dict):
            arguments += [option, json.dumps(value, ensure_ascii=False, sort_keys=True)]
        elif hasattr(value, "total_seconds"):
            arguments += [option, f"{int(value.total_seconds())}s"]
        elif value is not None and value is not False:
            arguments += [option, str(value)]
    return arguments


def _amount(given: Decimal | float | str) -> Decimal:
    try:
        amount = Decimal(str(given))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise InvalidJob(f"max_rub: give a number of rubles above 0, not {given!r}")
    return amount


def _found_migrations(settings: Settings) -> ModelMigrations:
    from visionq.cli.shared import found_migrations  # noqa: PLC0415  # only where there is work

    return found_migrations(settings)


def _simulates(settings: Settings) -> bool:
    """Return whether the simulator is known to answer: its answers have records of their own."""
    from visionq.cli.record import read_record  # noqa: PLC0415  # only where there is work

    if settings.redis_url is not None:
        return False
    record = read_record()
    return settings.api_key is None if record is None else record.simulator_url is not None
