"""The stack that a command works with: the one that runs, or one for this command alone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from visionq.cli.record import read_record
from visionq.cli.shared import find_redis_url
from visionq.devstack.temporary import temporary_stack
from visionq.extras import STACK, check_extras

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visionq.settings import Settings


@dataclass(frozen=True, slots=True)
class Stack:
    """Where jobs go, and who answers them, as far as that is known here."""

    redis_url: str
    #: Ends in `/openai/v1`; None where only the workers know.
    provider_url: str | None = None
    #: Whether answers are made up by the simulator; None where only the workers know.
    simulated: bool | None = None


def simulates(settings: Settings) -> bool | None:
    """Return whether the stack that `found_stack` will give makes its answers up; None: unknown."""
    if settings.redis_url is not None:
        return None
    record = read_record()
    return settings.api_key is None if record is None else record.simulator_url is not None


@contextmanager
def found_stack(settings: Settings, *options: str) -> Iterator[Stack]:
    """Give the stack of `VISIONQ_REDIS_URL`, else the running one, else a temporary one.

    `options` are those of `visionq up` for a temporary one.

    Raises:
        QueueUnavailable: a temporary one did not start.
        ConfigurationError: what is set is no address of Redis, or there is no stack and packages
            to start one are not installed.
    """
    record = read_record() if settings.redis_url is None else None
    if settings.redis_url is not None:
        yield Stack(find_redis_url(settings))
    elif record is not None:
        simulated = record.simulator_url is not None
        yield Stack(record.redis_url, record.provider_url, simulated)
    else:
        check_extras("no stack is running, VISIONQ_REDIS_URL is not set, and starting one", STACK)
        click.echo("no stack is running: starting a temporary one …", err=True)
        with temporary_stack(*options) as told:
            simulated = told["simulator_url"] is not None
            yield Stack(told["redis_url"], told["provider_url"], simulated)
