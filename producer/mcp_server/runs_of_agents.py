"""Quotes and runs of an agent: each question about a source has a folder, and is asked once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from producer.run.record_index import open_rows
from producer.sources import BadRow
from visionq.errors import InvalidJob, JobNotFound, VisionqError
from visionq.frames.child_process import command, printed_result

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
    from pathlib import Path

    from producer.mcp_server.roots import Roots

_T = TypeVar("_T")

#: Seconds for which a quote may be used.
VALID: Final = 3600.0
#: Seconds: a run that is stopped waits for calls in flight.
_PATIENCE: Final = 60.0
_MOST_ROWS: Final = 200
#: Quotes and samples at a time, of any number of calls; others wait.
_MOST_CHILDREN: Final = 4
#: Runs at a time; further ones are refused.
_MOST_RUNS: Final = 8
#: The bound of a run that has nothing to pay: a bound is more than nothing.
_LEAST_RUB: Final = Decimal("0.000001")
_FIELDS: Final = ("id", "file", "text", "data", "error", "cost_rub", "cached", "warnings")


@dataclass(slots=True)
class AgentRun:
    """One question about one source."""

    id: str
    source: str
    arguments: tuple[str, ...]
    folder: Path
    #: When it was quoted, by the server's clock; None: before this server started.
    quoted_at: float | None = None
    #: Rubles that all of its rows may cost, by its latest quote.
    most_rub: Decimal = Decimal(0)
    process: asyncio.subprocess.Process | None = None
    #: Held while a process samples or starts: one at a time writes the record.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: dict[str, Any] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The record of its answers."""
        return self.folder / "answers.jsonl"

    @property
    def log(self) -> Path:
        """The messages of its last process."""
        return self.folder / "log.txt"

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.returncode is None


class AgentRuns:
    """The quotes and runs of one server. Used by its event loop."""

    def __init__(
        self,
        roots: Roots,
        folder: Path,
        environment: dict[str, str],
        tenant: str,
        clock: Callable[[], float],
    ) -> None:
        """Keep answers in `folder`; children get `environment` and charge `tenant`."""
        self._roots = roots
        self._folder = folder
        self._environment = environment
        self._tenant = tenant
        self._clock = clock
        self._runs: dict[str, AgentRun] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._children = asyncio.Semaphore(_MOST_CHILDREN)

    async def quote(self, source: str, question: dict[str, Any]) -> tuple[AgentRun, dict[str, Any]]:
        """Return a run to be, and its quote."""
        await asyncio.to_thread(self._roots.source, source)
        run = self._known(str(self._roots.path(source)), question)
        said = await self._call("quote", run.source, *run.arguments)
        # A run counts what its rows have cost before.
        paid = await asyncio.to_thread(_paid, run.out)
        run.most_rub = max(paid + Decimal(said["rub"]["high"]), _LEAST_RUB)
        run.quoted_at = self._clock()
        return run, said

    async def sample(self, run: AgentRun, rows: int) -> list[dict[str, Any]]:
        """Answer rows drawn at random; return them."""
        ids = await asyncio.to_thread(self._ids, run.source)
        chosen = set(random.sample(ids, min(rows, len(ids))))  # no secret
        only = [f"--only={identity}" for identity in chosen]
        async with run.lock:
            if run.is_running:
                raise InvalidJob("the run is under way: read its `results`")
            await self._call("run", run.source, *run.arguments, *self._bounds(run), *only)
        return await asyncio.to_thread(_read_rows, run.out, 0, _MOST_ROWS, chosen)

    def _ids(self, source: str) -> list[str]:
        rows = self._roots.source(source).rows()
        return [row.id for row in rows if not isinstance(row, BadRow)]

    async def start(self, run: AgentRun) -> None:
        """Start answering all rows; a run that is under way goes on."""
        async with run.lock:
            if run.is_running:
                return
            if sum(one.is_running for one in self._runs.values()) >= _MOST_RUNS:
                raise InvalidJob(f"{_MOST_RUNS} runs are under way: wait until one has ended")
            await asyncio.to_thread(self._roots.source, run.source)
            arguments = ("run", run.source, *run.arguments, *self._bounds(run))
            with run.log.open("wb") as log:
                run.process = await self._started(arguments, log)
            run.ended = {}
        self._follow(self._followed(run, run.process))

    def quoted(self, identity: str) -> AgentRun:
        """Return the run of a quote that is still valid.

        Raises:
            InvalidJob: there is no such quote, or it is too old.
        """
        run = self._runs.get(identity)
        if run is None or run.quoted_at is None or self._clock() - run.quoted_at > VALID:
            raise InvalidJob(f"run_id: {identity[:80]!r} is no valid quote: call `quote` first")
        return run

    def find(self, identity: str) -> AgentRun:
        """Return a run by its id.

        Raises:
            JobNotFound: there is none.
        """
        run = self._runs.get(identity)
        if run is None:
            raise JobNotFound(f"run {identity[:80]!r}: call `quote` with its source and question")
        return run

    async def results(self, run: AgentRun, after: int, most: int) -> list[dict[str, Any]]:
        """Return answered rows in the order of the source, skipping the first `after`."""
        return await asyncio.to_thread(_read_rows, run.out, after, min(most, _MOST_ROWS))

    async def count(self, run: AgentRun) -> int:
        """Return how many rows have an answer or an error."""
        return await asyncio.to_thread(_count_rows, run.out)

    async def close(self) -> None:
        """Stop all runs; calls in flight are waited for."""
        running = [run.process for run in self._runs.values() if run.is_running and run.process]
        for process in running:
            if process.stdin is not None:
                process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _known(self, source: str, question: dict[str, Any]) -> AgentRun:
        asked = json.dumps([source, question, self._tenant], sort_keys=True, ensure_ascii=False)
        identity = hashlib.sha256(asked.encode("utf-8", "backslashreplace")).hexdigest()[:16]
        if identity not in self._runs:
            folder = self._folder / identity
            folder.mkdir(parents=True, exist_ok=True)
            arguments = (*_arguments(question, folder), f"--tenant={self._tenant}")
            self._runs[identity] = AgentRun(identity, source, arguments, folder)
        return self._runs[identity]

    def _bounds(self, run: AgentRun) -> Sequence[str]:
        bounds = (f"--out={run.out}", f"--max-rub={run.most_rub:f}")
        return (*bounds, "--yes", "--end-with-stdin")

    async def _call(self, *arguments: str) -> dict[str, Any]:
        await self._children.acquire()
        try:
            process = await self._started(arguments)
        except BaseException:
            self._children.release()
            raise
        answer = self._follow(_answer(process))
        answer.add_done_callback(lambda _: self._children.release())
        try:
            printed, said, code = await asyncio.shield(answer)
        except asyncio.CancelledError:
            if process.stdin is not None:
                process.stdin.close()  # a run ends when its calls have
            if arguments[0] != "run" and process.returncode is None:
                process.terminate()
            raise
        found: dict[str, Any] = printed_result(
            printed, code, said.decode("utf-8", "replace").splitlines()
        )
        return found

    def _follow(self, steps: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Start a task that `close` waits for."""
        task = asyncio.create_task(steps)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _started(
        self, arguments: Sequence[str], log: IO[bytes] | None = None
    ) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *command(),
            *arguments,
            "--json",
            env=self._environment,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe if log is None else log,
            start_new_session=True,
        )

    async def _followed(self, run: AgentRun, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101  # a pipe
        printed = await process.stdout.read()
        code = await process.wait()
        said = run.log.read_text("utf-8", "replace").splitlines()
        try:
            run.ended = printed_result(printed, code, said)
        except VisionqError as error:
            run.ended = {"outcome": "failed", "error": str(error)}


async def _answer(process: asyncio.subprocess.Process) -> tuple[bytes, bytes, int]:
    """Return what a process prints, its messages and its exit code."""
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018  # pipes
    try:  # `communicate` would close stdin, with which a run ends
        return await asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
    finally:
        process.stdin.close()


def _arguments(question: dict[str, Any], folder: Path) -> list[str]:
    """Return the options of a question; texts go by files."""
    options = dict(question)
    found = []
    if (prompt := options.pop("prompt", None)) is not None:
        (folder / "prompt.txt").write_text(prompt, "utf-8", "backslashreplace")
        found.append(f"--prompt-file={folder / 'prompt.txt'}")
    if (schema := options.pop("schema", None)) is not None:
        (folder / "schema.json").write_text(json.dumps(schema), "utf-8")
        found.append(f"--schema={folder / 'schema.json'}")
    found += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return found


@contextmanager
def _rows_of(out: Path) -> Iterator[Iterable[dict[str, Any]]]:
    """Give the rows of a record, which may be absent, in order."""
    if not out.exists():
        yield ()
        return
    with open_rows(out, ordered=True) as rows:
        yield rows


def _read_rows(
    out: Path, after: int, most: int, only: Collection[str] | None = None
) -> list[dict[str, Any]]:
    with _rows_of(out) as rows:
        wanted = (row for row in islice(rows, after, None) if only is None or row["id"] in only)
        return [{name: row.get(name) for name in _FIELDS} for row in islice(wanted, most)]


def _count_rows(out: Path) -> int:
    with _rows_of(out) as rows:
        return sum(1 for _ in rows)


def _paid(out: Path) -> Decimal:
    with _rows_of(out) as rows:
        return sum((Decimal(row["cost_rub"]) for row in rows), Decimal(0))
