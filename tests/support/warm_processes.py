"""Workers, gateways, commands and simulators forked from a process that has imported everything.

Importing is most of what their start costs. They are whole processes that run their own command,
each with its own environment.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final

from visionq.devstack.simulator import RunningSimulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

_CONTEXT: Final = get_context("forkserver")
#: What a worker that has done its first job has imported, and a simulator; none starts a thread.
_IMPORTED: Final = [
    "tests.support.warm_processes",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.concurrency.base",
    "celery.events.dispatcher",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "celery.worker.worker",
    "kombu.transport.pyamqp",
    "openai.resources.chat",
    "openai.resources.responses",
    "producer.gateway.application",
    "visionq.cli",
    "visionq.devstack.simulator.__main__",
    "worker.worker_command",
    "worker.celery.consumer",
    "worker.celery.app",
    "worker.celery.pool",
    "worker.celery.tasks",
]
#: Seconds in which a simulator must answer, on a busy machine too, and in which it must end.
_START, _END = 120, 5
_STDOUT: Final = 1
_STDERR: Final = 2


class WarmProcess:
    """A process of `visionq`, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        _CONTEXT.set_forkserver_preload(_IMPORTED)
        log.touch()
        # A daemon ends with the process that started it, however that comes to its end.
        self._process = _CONTEXT.Process(
            target=_work, args=(arguments, environment, log), daemon=True
        )
        self._process.start()
        self.pid: int = self._process.pid  # type: ignore[assignment]  # it has one once started

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _work(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    from visionq.cli import main  # noqa: PLC0415  # in the child alone, where it is imported already

    with log.open("ab") as file:
        os.dup2(file.fileno(), _STDOUT)
        os.dup2(file.fileno(), _STDERR)
    _become(environment, ["visionq", *arguments])
    main()


@contextmanager
def running_simulator(log: Path | None = None, **settings: object) -> Iterator[RunningSimulator]:
    """Run a simulator with these settings while the block lasts, with its log in a file."""
    _CONTEXT.set_forkserver_preload(_IMPORTED)
    output, its_output = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(
        target=_simulate,
        args=(json.dumps(settings), dict(os.environ), its_output, log),
        daemon=True,
    )
    process.start()
    its_output.close()
    try:
        with os.fdopen(output.fileno(), closefd=False) as lines:
            ready, _, _ = select.select([lines], [], [], _START)
            address = lines.readline().strip() if ready else ""
        assert address.startswith("http://"), "the simulator did not start"
        yield RunningSimulator(address, process.pid or 0)
    finally:
        process.terminate()
        process.join(_END)
        if process.exitcode is None:
            process.kill()
            process.join()
        output.close()


def _simulate(
    settings: str, environment: dict[str, str], output: Connection, log: Path | None
) -> None:
    from visionq.devstack.simulator.__main__ import main  # noqa: PLC0415  # as above

    os.dup2(output.fileno(), _STDOUT)
    output.close()
    if log is not None:
        with log.open("wb") as file:
            os.dup2(file.fileno(), _STDERR)
    _become(environment, ["visionq-simulator", "--settings", settings])
    main()


def _become(environment: dict[str, str], arguments: list[str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
