"""A stack for the duration of one command."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from visionq.errors import QueueUnavailable
from visionq.installation import python_command

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMAND: Final = (*python_command("visionq.cli"), "up", "--json", "--temporary")


@contextmanager
def temporary_stack(*options: str) -> Iterator[dict[str, Any]]:
    """Run `visionq up` with these options while the block lasts; yield its `--json` output.

    It has workers and what they need, and other services only if they are asked for. It ends when
    its stdin does, so it also ends when this process is killed.

    Raises:
        QueueUnavailable: it did not start; it has said why on stderr.
    """
    with subprocess.Popen(  # noqa: S603  # our own command
        (*_COMMAND, *options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C is for this command; the stack ends after it, in order.
        start_new_session=True,
    ) as process:  # leaving closes stdin, then waits for the end
        assert process.stdout is not None  # noqa: S101  # for the type checker: it is a pipe
        line = process.stdout.readline()
        if not line:
            raise QueueUnavailable("a temporary stack did not start")
        yield json.loads(line)
