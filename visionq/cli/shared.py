"""Shared by all commands: exit codes, printing errors, `--json`, finding the stack."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from visionq.cli.record import read_record
from visionq.cli.screen import plain
from visionq.errors import (
    BY_CODE,
    BudgetExhausted,
    Cancelled,
    ConfigurationError,
    InsufficientBalance,
    InvalidSource,
    JobFailed,
    ProviderFault,
    QueueUnavailable,
    VisionqError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from visionq.ledger import Ledger
    from visionq.model_migrations import ModelMigrations
    from visionq.settings import Settings

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_STOPPED: Final = 4
EXIT_INTERRUPTED: Final = 130

T = TypeVar("T")
Command = TypeVar("Command", bound="Callable[..., Any]")

#: Narrower terminals than this wrap as they like.
_LEAST_COLUMNS: Final = 40

#: Why jobs are parked behind a gate that the operator has closed.
BY_HAND: Final = "operator"
#: The first class that fits decides, so a special case comes before its parent.
_EXIT_CODES: Final[tuple[tuple[type[VisionqError], int], ...]] = (
    (ConfigurationError, EXIT_USAGE),
    (InvalidSource, EXIT_USAGE),
    (InsufficientBalance, EXIT_STOPPED),
    (BudgetExhausted, EXIT_STOPPED),
    (Cancelled, EXIT_STOPPED),
    (QueueUnavailable, EXIT_UNREACHABLE),
    (ProviderFault, EXIT_UNREACHABLE),
    (VisionqError, EXIT_FAILED),
)

#: A path that is no folder; who opens it reports what is wrong.
FILE: Final = click.Path(dir_okay=False, path_type=Path)

#: `--json` for commands that read; the parameter is called `as_json`.
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


class Parsed(click.ParamType[T]):
    """A parameter parsed by `read`, whose `ValueError` becomes the message."""

    def __init__(self, name: str, read: Callable[[str], T]) -> None:
        self.name = name
        self._read = read

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> T:
        """Return the parsed value; an invalid one ends the command."""
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that gives a command these options, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def exit_code(error: VisionqError) -> int:
    """Return the exit code of a command that ended in `error`.

    A job that failed counts as the error which its code names; where the gate is closed by hand,
    jobs have the code `operator`.
    """
    if isinstance(error, JobFailed) and error.code == BY_HAND:
        return EXIT_STOPPED
    kind = BY_CODE.get(error.code, JobFailed) if isinstance(error, JobFailed) else type(error)
    return next(code for parent, code in _EXIT_CODES if issubclass(kind, parent))


def print_wrapped(line: str) -> None:
    """Print a line on stderr: in a terminal wrapped by words, elsewhere whole."""
    if sys.stderr.isatty():
        line = wrapped(line, shutil.get_terminal_size().columns)
    click.echo(line, err=True)


def wrapped(line: str, columns: int) -> str:
    """Break a line between words, keep its indentation, and cut no word."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line,
        max(columns, _LEAST_COLUMNS),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_error(error: VisionqError) -> None:
    """Print `error: CODE: message` on stderr, then the money paid."""
    print_wrapped(f"error: {' '.join(str(error).split())}")
    if error.cost_rub or error.text:
        what = f" for this:\n{error.text}" if error.text else ""
        click.echo(f"paid {plain(error.cost_rub)} ₽{what}", err=True)


def error_document(error: VisionqError) -> dict[str, dict[str, str | None]]:
    """Return an error as printed by `--json`: code, message, and the picture at fault.

    Where the error was paid for, `cost_rub`, and `text`, what the model wrote (null: nothing).
    """
    told = {"code": error.code, "message": error.message, "file": error.image}
    if error.cost_rub or error.text:
        told |= {"cost_rub": plain(error.cost_rub), "text": error.text}
    return {"error": told}


@contextmanager
def errors_as_json(as_json: bool) -> Iterator[None]:
    """End the command on an error by its JSON on stdout, where `--json` was given."""
    try:
        yield
    except VisionqError as error:
        if not as_json:
            raise
        print_json(error_document(error))
        raise click.exceptions.Exit(exit_code(error)) from None


def write_nowhere() -> None:
    """Discard further output: nothing may be flushed into a broken pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def print_json(value: Any) -> None:  # noqa: ANN401  # any JSON value; Decimals as strings
    """Print one JSON value on stdout, on one line, other alphabets as they are."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


@contextmanager
def open_ledger() -> Iterator[Ledger]:
    """Give the ledger of the running stack; its errors become `QueueUnavailable`."""
    # The frame of every command imports this module: no other is to pay for these.
    from visionq.ledger import Ledger, ledger_options  # noqa: PLC0415
    from visionq.redis_connection import as_queue_unavailable, connect  # noqa: PLC0415
    from visionq.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    with (
        connect(find_redis_url(settings), "visionq-cli") as redis,
        as_queue_unavailable(),
    ):
        yield Ledger(redis, ledger_options(settings))


def found_migrations(settings: Settings) -> ModelMigrations:
    """Return the model migrations of the stack that is there; a temporary one has none.

    Raises:
        QueueUnavailable: its Redis can't be reached.
    """
    from visionq.model_migrations import NO_MIGRATIONS, read_migrations  # noqa: PLC0415  # as above
    from visionq.redis_connection import as_queue_unavailable, connect  # noqa: PLC0415  # as above

    if settings.redis_url is None and read_record() is None:
        return NO_MIGRATIONS
    with connect(find_redis_url(settings), "visionq-cli") as redis, as_queue_unavailable():
        return read_migrations(redis)


def find_redis_url(settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """Return the address of the ledger's Redis: `VISIONQ_REDIS_URL`, else the running stack's.

    Raises:
        QueueUnavailable: there is neither; the message says how to start a stack.
    """
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    record = read_record(environ)
    if record is None:
        raise QueueUnavailable(
            "no stack is running: start one with `visionq up`, or set VISIONQ_REDIS_URL"
        )
    return record.redis_url
