"""Commands that start and feed each contender."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

#: Processes, and concurrent jobs in each; the same for all.
PROCESSES: Final = 2
CONCURRENCY: Final = 64
#: Processes of contenders that run one job at a time in each.
ONE_JOB_PROCESSES: Final = 32

_BIN: Final = Path(".venv-peers/bin")


@dataclass(frozen=True)
class Contender:
    """A way to do the same jobs."""

    name: str
    #: Worker commands; each may start more processes.
    commands: tuple[tuple[str, ...], ...]
    #: The Python that submits its jobs, and its module in this package; empty: no queue.
    python: str = str(_BIN / "python")
    app: str = ""
    #: Whether visionq stores pictures in a directory; peers always get paths.
    in_directory: bool = False

    def check_installed(self) -> None:
        """Raise `RuntimeError` if what it needs is not installed."""
        if not Path(self.commands[0][0]).exists():
            raise RuntimeError(f"{self.name} is not installed: run `sh scripts/install.sh peers`")

    @property
    def is_visionq(self) -> bool:
        """Whether it is visionq."""
        return self.app == "visionq_app"


def _peer(name: str, app: str, *commands: tuple[str, ...]) -> Contender:
    ran = tuple((str(_BIN / command[0]), *command[1:]) for command in commands)
    return Contender(name, ran, app=app)


def _each(*command: str) -> tuple[tuple[str, ...], ...]:
    """Return the command once for each of `PROCESSES` worker processes."""
    return (command,) * PROCESSES


SCRIPT: Final = Contender(
    "asyncio script", _each(str(_BIN / "python"), "-m", "benchmarks.peers.script")
)
VISIONQ: Final = Contender(
    "visionq",
    _each(sys.executable, "-m", "visionq.cli", "worker", "--concurrency", str(CONCURRENCY)),
    python=sys.executable,
    app="visionq_app",
)
IN_DIRECTORY: Final = replace(VISIONQ, name="visionq, pictures in a directory", in_directory=True)
#: Half of visionq.
ONE_PROCESS: Final = replace(VISIONQ, name="visionq, one process", commands=VISIONQ.commands[:1])
CELERY: Final = _peer(
    "Celery prefork",
    "celery_app",
    (
        *("celery", "-A", "benchmarks.peers.celery_app", "worker", "--loglevel", "WARNING"),
        *("--concurrency", str(ONE_JOB_PROCESSES)),
    ),
)
CELERY_THREADS: Final = _peer(
    "Celery threads",
    "celery_app",
    *(
        (
            *("celery", "-A", "benchmarks.peers.celery_app", "worker", "--loglevel", "WARNING"),
            *("--pool", "threads", "--concurrency", str(CONCURRENCY), "-n", f"{number}@%h"),
        )
        for number in range(PROCESSES)
    ),
)
DRAMATIQ: Final = _peer(
    "dramatiq",
    "dramatiq_app",
    (
        *("dramatiq", "benchmarks.peers.dramatiq_app"),
        *("--processes", str(PROCESSES), "--threads", str(CONCURRENCY)),
    ),
)
TASKIQ: Final = _peer(
    "taskiq",
    "taskiq_app",
    (
        *("taskiq", "worker", "benchmarks.peers.taskiq_app:broker", "--log-level", "WARNING"),
        *("--workers", str(PROCESSES), "--max-async-tasks", str(CONCURRENCY)),
    ),
)
ARQ: Final = _peer("arq", "arq_app", *_each("arq", "benchmarks.peers.arq_app.WorkerSettings"))
SAQ: Final = _peer("saq", "saq_app", *_each("saq", "--quiet", "benchmarks.peers.saq_app.settings"))
RQ: Final = _peer(
    "rq",
    "rq_app",
    (
        *("rq", "worker-pool", "--quiet", "--num-workers", str(ONE_JOB_PROCESSES)),
        *("--worker-class", "rq.SimpleWorker", "--path", ".", "default"),
    ),
)
HUEY: Final = _peer(
    "huey",
    "huey_app",
    *_each(
        *("huey_consumer", "--quiet", "--worker-type", "thread"),
        *("--workers", str(CONCURRENCY), "benchmarks.peers.huey_app.huey"),
    ),
)

QUEUES: Final = (CELERY, CELERY_THREADS, DRAMATIQ, TASKIQ, ARQ, SAQ, RQ, HUEY)
