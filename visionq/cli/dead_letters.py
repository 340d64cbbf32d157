"""`visionq dead-letters`: messages that no worker could process."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from visionq.cli.filters import ID
from visionq.cli.screen import print_rows
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_OK,
    error_document,
    errors_as_json,
    json_option,
    open_ledger,
    print_error,
    print_json,
)
from visionq.dead_letters import DeadLetter, DeadLetters, shape_of
from visionq.errors import JobFailed, VisionqError
from visionq.redis_connection import connect
from visionq.settings import ConfigurationError, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

    from visionq.settings import Settings

_ids = click.argument("letter_ids", type=ID, metavar="[ID]...", nargs=-1)
_all = click.option("--all", "all_", is_flag=True, help="All of them.")


@click.group("dead-letters")
def dead_letters() -> None:
    """Show, resend or drop messages that no worker could process."""


@dead_letters.command("list")
@click.option("--reason", help="Only those kept for this reason.")
@click.option("--queue", help="Only those from this queue.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most.")
@json_option
def list_(*, reason: str | None, queue: str | None, limit: int, as_json: bool) -> None:
    """List messages, latest first, without their content."""
    with errors_as_json(as_json), open_ledger() as ledger:
        wanted = (
            letter
            for letter in DeadLetters(ledger.redis).latest()
            if reason in {None, letter.reason} and queue in {None, letter.queue}
        )
        found = list(islice(wanted, limit))
    if as_json:
        print_json([letter.to_public() for letter in found])
    elif found:
        headings = ("ID", "RECEIVED", "QUEUE", "REASON", "TASK", "BYTES")
        print_rows(headings, [_row(letter) for letter in found])
    else:
        click.echo("no dead letters")


def _row(letter: DeadLetter) -> tuple[str, ...]:
    received = letter.received_at.astimezone().strftime("%m-%d %H:%M:%S")
    size, task = f"{letter.bytes:,}", letter.task or "?"
    return letter.id, received, letter.queue, letter.reason, task, size


@dead_letters.command()
@click.argument("letter_id", type=ID, metavar="ID")
@click.option("--raw", is_flag=True, help="Print the original message.")
@json_option
def show(*, letter_id: str, raw: bool, as_json: bool) -> None:
    """Show why a message was kept, and its structure; with --raw its content."""
    with errors_as_json(as_json):
        with open_ledger() as ledger:
            letters = DeadLetters(ledger.redis)
            letter = letters.get([letter_id]).get(letter_id)
            if letter is None:
                raise _unknown(letter_id)
            content = letters.raw(letter_id)
        if raw:
            sys.stdout.buffer.write(content)
        elif as_json:
            print_json({**letter.to_public(), "shape": shape_of(content)})
        else:
            for name, value in letter.to_public().items():
                if value not in (None, ""):
                    click.echo(f"{name:12} {value}")
            click.echo(f"{'shape':12} {json.dumps(shape_of(content), ensure_ascii=False)}")


@dead_letters.command()
@_ids
@_all
@json_option
def replay(*, letter_ids: tuple[str, ...], all_: bool, as_json: bool) -> int:
    """Put messages back into their queues unchanged, for instance after updating the workers."""
    with (
        errors_as_json(as_json),
        open_ledger() as ledger,
        _broker(load_settings(), ledger.redis) as broker,
    ):
        letters = DeadLetters(ledger.redis)
        act = partial(_put_back, letters, broker)
        return _for_each(letters, letter_ids, act, all_=all_, as_json=as_json)


@dead_letters.command()
@_ids
@_all
@json_option
def drop(*, letter_ids: tuple[str, ...], all_: bool, as_json: bool) -> int:
    """Delete messages."""
    with errors_as_json(as_json), open_ledger() as ledger:
        letters = DeadLetters(ledger.redis)
        return _for_each(letters, letter_ids, letters.drop, all_=all_, as_json=as_json)


def _for_each(
    letters: DeadLetters,
    letter_ids: tuple[str, ...],
    act: Callable[[DeadLetter], None],
    *,
    all_: bool,
    as_json: bool,
) -> int:
    """Apply an action to each letter; report those that fail, and go on."""
    if bool(letter_ids) is all_:
        raise click.UsageError("name the letters by their ids, or give --all")
    found = {letter.id: letter for letter in letters.latest()} if all_ else letters.get(letter_ids)
    results: list[dict[str, Any]] = []
    for letter_id in found if all_ else letter_ids:
        try:
            if letter_id not in found:
                raise _unknown(letter_id)
            act(found[letter_id])
            results.append({"id": letter_id, "done": True})
        except JobFailed as error:
            results.append({"id": letter_id, "done": False, **error_document(error)})
            if not as_json:
                print_error(error)
    if as_json:
        print_json(results)
    else:
        click.echo(f"{sum(result['done'] for result in results)} done")
    return EXIT_OK if all(result["done"] for result in results) else EXIT_FAILED


def _put_back(letters: DeadLetters, broker: Redis, letter: DeadLetter) -> None:
    if not letter.is_whole:
        message = f"{letter.id}: {letter.bytes:,} bytes were too many to keep; have it sent again"
        raise JobFailed("dead_letter_not_whole", message)
    letters.replay(letter, broker)


def _unknown(letter_id: str) -> VisionqError:
    return JobFailed("dead_letter_not_found", f"no dead letter {letter_id}; `dead-letters list`")


@contextmanager
def _broker(settings: Settings, redis: Redis) -> Iterator[Redis]:
    url = settings.broker_url.get_secret_value() if settings.broker_url else None
    if url is None:
        yield redis
    elif url.startswith(("redis://", "rediss://", "unix://")):
        with connect(url, "visionq-cli") as broker:
            yield broker
    else:
        raise ConfigurationError(
            "VISIONQ_BROKER_URL: dead letters can be put back into queues in Redis only;"
            " `dead-letters show ID --raw` gives the message for other brokers"
        )
