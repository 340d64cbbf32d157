"""One contender, one workload, one run: warm workers, a full queue, then the clock."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from redis import Redis
from redis.exceptions import RedisError

from benchmarks.peers.contenders import CONCURRENCY, PROCESSES, SCRIPT, Contender
from benchmarks.peers.processes import Workers, started
from benchmarks.peers.recording import Recorder, recorder
from benchmarks.peers.work import WARM
from visionq.devstack.redis_server import running_redis
from visionq.devstack.simulator.process import RunningSimulator, running_simulator
from visionq.errors import VisionqError
from visionq.ledger import GateOrder, Ledger
from visionq.names import COUNTS, PROVIDER_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Seconds without progress before a run counts as stalled; longer before the first job, since
#: processes import much; and the longest run.
_STALLED: Final = 60.0
_STARTING: Final = 240.0
_WORKERS_LOG: Final = "workers.log"
_PATIENCE: Final = 600.0
#: Errors that fail one contender's run and let the others go on.
FAILURES: Final = (
    RuntimeError,
    OSError,
    ValueError,
    subprocess.SubprocessError,
    psutil.Error,
    RedisError,
    VisionqError,
)


@dataclass(frozen=True)
class Workload:
    """Work that every contender does."""

    name: str
    #: Files, used in rotation.
    pictures: tuple[str, ...]
    jobs: int
    #: Seconds until the provider answers.
    latency: float
    #: A file that is processed at once.
    warming: str
    #: Distinct questions among the jobs; 0: every question is distinct.
    questions: int = 0

    def paths(self, jobs: int) -> list[str]:
        """Return one file per job."""
        return [self.pictures[number % len(self.pictures)] for number in range(jobs)]


@dataclass(frozen=True)
class Run:
    """Figures of one run."""

    jobs_per_second: float
    #: CPU milliseconds per job, of all its processes.
    processor_ms: float
    #: PSS of all its processes with every slot busy.
    proportional_mb: float
    #: Per job: commands, including those in scripts, and bytes in and out.
    redis_commands: float
    redis_bytes: float
    #: CPU milliseconds of Redis per job.
    redis_ms: float


@dataclass(frozen=True)
class Place:
    """A contender's environment: Redis, provider and workers."""

    contender: Contender
    environment: dict[str, str]
    redis: Redis
    simulator: RunningSimulator
    workers: Workers
    #: Replaces the simulator where timestamps matter.
    recorder: Recorder | None
    folder: Path

    def feed(self, paths: Sequence[str], first: int = 0, pause: float = 0) -> dict[str, Any]:
        """Submit jobs; return the `seconds` taken and the `times` of the jobs."""
        task = json.dumps({"paths": list(paths), "first": first, "pause": pause})
        done = subprocess.run(  # noqa: S603  # our own module
            (self.contender.python, "-m", "benchmarks.peers.feed", self.contender.app),
            env=self.environment,
            input=task + "\n",
            text=True,
            check=True,
            stdout=subprocess.PIPE,
            timeout=_PATIENCE,
        )
        fed: dict[str, Any] = json.loads(done.stdout)
        return fed

    @contextmanager
    def start_workers(self) -> Iterator[Workers]:
        """Run the contender's workers inside the block."""
        options: dict[str, Any] = {"stdout": subprocess.DEVNULL}
        if self.contender is SCRIPT:
            options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        log = self.folder / _WORKERS_LOG
        with started(self.contender.commands, self.environment, log, **options) as workers:
            yield workers

    def done(self) -> int:
        """Return how many jobs were answered, by a call or by a stored answer.

        Peers count as answered when billed, which happens one latency before the answer.
        """
        if self.contender.is_visionq:
            return int(self.redis.hget(COUNTS, "completed") or 0)
        return int(self.simulator.bill()["billed"])

    def wait_for(self, jobs: int) -> None:
        """Wait for this many answers. Raises `RuntimeError` if progress stalls."""
        started_at = moved_at = time.monotonic()
        before = -1
        while (done := self.done()) < jobs:
            self.workers.check()
            now = time.monotonic()
            if done != before:
                before, moved_at = done, now
            patience = _STALLED if done else _STARTING
            if now - moved_at > patience or now - started_at > _PATIENCE:
                raise RuntimeError(
                    f"{done} of {jobs} jobs after {now - started_at:.0f} s{self._state()}"
                )
            left = (now - started_at) * (jobs - done) / done if done else 0.1
            time.sleep(min(1.0, max(0.02, left / 3)))

    def _state(self) -> str:
        """Describe the state of unfinished jobs."""
        if self.contender.is_visionq:
            counts: dict[bytes, bytes] = self.redis.hgetall(COUNTS)  # type: ignore[assignment]
            kept = {state.decode(): int(count) for state, count in counts.items() if int(count)}
            return f", {kept}"
        said = (self.folder / _WORKERS_LOG).read_text(encoding="utf-8").splitlines()
        return f"; last log line: {said[-1].strip()}" if said else ""

    def hold(self) -> None:
        """Keep the workers from taking jobs."""
        if self.contender.is_visionq:
            self._steer(GateOrder.CLOSE)
        else:
            self.workers.pause()

    def release(self) -> None:
        """Let the workers take jobs."""
        if self.contender.is_visionq:
            self._steer(GateOrder.OPEN)
        else:
            self.workers.go_on()

    def _steer(self, order: GateOrder) -> None:
        ledger = Ledger(self.redis)
        keys: set[bytes] = self.redis.smembers(PROVIDER_KEYS)  # type: ignore[assignment]
        for key in keys:
            ledger.steer_gate(key.decode(), order)

    def redis_use(self) -> tuple[int, int, float]:
        """Return commands, bytes and CPU seconds so far."""
        used: dict[str, float] = self.redis.info("cpu")
        stats: dict[str, int] = self.redis.info("stats")
        moved = stats["total_net_input_bytes"] + stats["total_net_output_bytes"]
        seconds = used["used_cpu_user"] + used["used_cpu_sys"]
        return stats["total_commands_processed"], moved, seconds


@contextmanager
def place(
    contender: Contender,
    image_code: str,
    latency: float,
    questions: int = 0,
    *,
    recording: bool = False,
    idle: bool = False,
) -> Iterator[Place]:
    """Run Redis, the provider and, unless `idle`, the workers inside the block."""
    contender.check_installed()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="visionq-bench-")))
        server = stack.enter_context(running_redis(folder / "redis"))
        simulator = stack.enter_context(running_simulator(latency_s=latency))
        records = stack.enter_context(recorder(latency)) if recording else None
        provider = records or simulator
        environment = _environment(server.url, provider.provider_url, image_code)
        environment["BENCH_QUESTIONS"] = str(questions)
        if contender.in_directory:
            environment["VISIONQ_BLOB_URL"] = f"file://{folder}"
        redis = stack.enter_context(Redis.from_url(server.url))
        here = Place(contender, environment, redis, simulator, Workers(), records, folder)
        if not idle:
            here = replace(here, workers=stack.enter_context(here.start_workers()))
        yield here


def _environment(redis_url: str, provider_url: str, image_code: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "BENCH_REDIS": redis_url,
        "RQ_REDIS_URL": redis_url,
        "BENCH_IMAGE_CODE": image_code,
        "BENCH_CONCURRENCY": str(CONCURRENCY),
        "OPENAI_BASE_URL": provider_url,
        "OPENAI_API_KEY": "bench",
        "VISIONQ_REDIS_URL": redis_url,
        "PROXYAPI_BASE_URL": provider_url,
        "PROXYAPI_API_KEY": "bench",
        "VISIONQ_ALLOW_PRIVATE_URLS": "1",
        "VISIONQ_LOG_LEVEL": "WARNING",
    }


def run(contender: Contender, workload: Workload, image_code: str) -> Run:
    """Measure one contender once."""
    with place(contender, image_code, workload.latency, workload.questions) as here:
        warming = CONCURRENCY * PROCESSES
        # Tiny pictures: this warms processes and connections.
        if contender is SCRIPT:
            _tell_script(here, [workload.warming] * warming, WARM)
            _await_script(here)
        else:
            here.feed([workload.warming] * warming, WARM)
            here.wait_for(warming)
            here.hold()
            here.feed(workload.paths(workload.jobs))
        before = here.redis_use()
        used = here.workers.processor_seconds()
        begun = time.perf_counter()
        if contender is SCRIPT:
            _tell_script(here, workload.paths(workload.jobs), 0)
        else:
            here.release()
        here.wait_for(warming + workload.jobs // 2)
        memory = here.workers.proportional_bytes()
        here.wait_for(warming + workload.jobs)
        if not contender.is_visionq:
            time.sleep(workload.latency)  # the last answers are still in flight
        seconds = time.perf_counter() - begun
        used = here.workers.processor_seconds() - used
        after = here.redis_use()
    commands, moved, redis_seconds = (
        (late - early) / workload.jobs for early, late in zip(before, after, strict=True)
    )
    return Run(
        jobs_per_second=workload.jobs / seconds,
        processor_ms=used * 1000 / workload.jobs,
        proportional_mb=memory / 1e6,
        redis_commands=commands,
        redis_bytes=moved,
        redis_ms=redis_seconds * 1000,
    )


def _tell_script(here: Place, paths: Sequence[str], first: int) -> None:
    """Give each process of the script its share of the jobs."""
    share = len(paths) // PROCESSES
    for number, process in enumerate(here.workers.roots):
        begin = number * share
        end = len(paths) if number == PROCESSES - 1 else begin + share
        task = json.dumps({"paths": paths[begin:end], "first": first + begin})
        if process.stdin is None:
            raise RuntimeError("the script has no stdin or stdout")
        process.stdin.write(task + "\n")
        process.stdin.flush()


def _await_script(here: Place) -> None:
    for process in here.workers.roots:
        if process.stdout is None or process.stdout.readline() != "done\n":
            raise RuntimeError("the script reported no completion")
