"""Workers from a process that has imported everything: many starts and deaths need quick births.

Importing is most of what the start of a worker costs, and on two cores it would be most of a storm.
The workers themselves are whole processes that run `visionq worker`, each with its own environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_CONTEXT: Final = get_context("forkserver")
#: What a worker that has done its first job has imported; none of it starts a thread.
_IMPORTED: Final = [
    "tests.support.warm_workers",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.concurrency.thread",
    "celery.events.dispatcher",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "celery.worker.worker",
    "kombu.transport.pyamqp",
    "openai.resources.chat",
    "openai.resources.responses",
    "visionq.cli",
    "worker.worker_command",
    "worker.celery.consumer",
    "worker.celery.app",
    "worker.celery.tasks",
]


class WarmWorker:
    """A worker process, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        _CONTEXT.set_forkserver_preload(_IMPORTED)
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
            raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0)
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

    with log.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["visionq", *arguments]
    main()
