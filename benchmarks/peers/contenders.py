"""How each contender is started and fed."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

#: Processes, and jobs at a time in each of them, for all alike.
PROCESSES: Final = 2
CONCURRENCY: Final = 64
#: For those that do one job at a time in a process.
ONE_JOB_PROCESSES: Final = 32

_BIN: Final = Path(".venv-peers/bin")


@dataclass(frozen=True)
class Contender:
    """A way to do the same jobs."""

    name: str
    #: Commands of its workers; each may start more processes.
    commands: tuple[tuple[str, ...], ...]
    #: The Python that enters its jobs, and its module in this package; none: it needs no queue.
    python: str = str(_BIN / "python")
    app: str = ""
    #: Whether its pictures stand in a directory; those of peers do, which are given paths.
    in_directory: bool = False

    @property
    def is_visionq(self) -> bool:
        """Whether it is what this repository holds."""
        return self.app == "visionq_app"


def _peer(name: str, app: str, *commands: tuple[str, ...]) -> Contender:
    ran = tuple((str(_BIN / command[0]), *command[1:]) for command in commands)
    return Contender(name, ran, app=app)


def _each(*command: str) -> tuple[tuple[str, ...], ...]:
    """Return the command of a worker that is one process, as often as there are to be."""
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
#: Half of it.
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
