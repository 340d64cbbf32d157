"""What one Redis carries: the commands of a real run, recorded by `MONITOR` and replayed.

A replay sends each client's commands over a connection of its own, in the recorded order, to a new
server with the recorded data. Nothing waits for Python in between, so that Redis is the bottleneck.
"""

from __future__ import annotations

import hashlib
import re
import statistics
import tempfile
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from redis import Redis
from redis.exceptions import NoScriptError

from benchmarks.comparison import progress
from benchmarks.peers.arena import place
from benchmarks.peers.contenders import CONCURRENCY, PROCESSES, VISIONQ
from benchmarks.peers.work import WARM
from benchmarks.speed.workloads import workload
from benchmarks.tables import Cells, Table, goal, goals
from visionq.devstack.redis_server import running_redis
from visionq.ledger.scripts import load_missing, script_text
from visionq.names import COUNTS

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Workload → most milliseconds of Redis's processor time that a job may take.
_GOALS: Final = {"overhead": 0.45, "small": 0.75, "full": 1.0}
_WANTED_PER_SECOND: Final = 2000
_ROUNDS: Final = 3
#: Commands in flight: fewer than the jobs in progress, so that no command overtakes one it needs.
_WINDOW: Final = 16
#: Commands that wait, but not in a transaction: in a replay another client may get the element.
_BLOCKING: Final = frozenset({b"BRPOP", b"BLPOP"})
#: Commands that concern the recorded connection itself.
_LEFT_OUT: Final = frozenset({b"HELLO", b"CLIENT", b"AUTH", b"SELECT", b"MONITOR", b"SUBSCRIBE",
                              b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"QUIT"})  # fmt: skip
#: A look of the dispatcher, and where its command says how long ago the last look must be.
_DISPATCH: Final = (
    hashlib.sha1(script_text("dispatch").encode(), usedforsecurity=False).hexdigest().encode()
)
_REST: Final = 11
#: Ends a recording.
_END: Final = b"end of the recording"
_LINE: Final = re.compile(rb"[\d.]+ \[\d+ (\S+)\] (.*)", re.DOTALL)
_PART: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-f]{2}|.)", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


@dataclass(frozen=True)
class Recording:
    """A run's commands, each with the client that sent it, and the data that they met."""

    data: Sequence[tuple[bytes, bytes]]
    commands: Sequence[tuple[bytes, Sequence[bytes]]]
    jobs: int


@dataclass(frozen=True)
class Replayed:
    """Figures of one replay."""

    jobs_per_second: float
    redis_ms: float


def measure(*, quick: bool = False) -> list[Table]:
    """Return what a job costs Redis in each workload, with the goals."""
    rows: list[Cells] = []
    reached: list[Cells] = []
    for kind, most in _GOALS.items():
        recording = record(kind, quick=quick)
        found = [replay(recording) for _ in range(1 if quick else _ROUNDS)]
        redis_ms = statistics.median(one.redis_ms for one in found)
        rate = statistics.median(one.jobs_per_second for one in found)
        trips = len(recording.commands) / recording.jobs
        rows.append((kind, float(recording.jobs), trips, redis_ms, rate))
        reached.append(goal(f"primary: {kind}: Redis CPU ms a job", redis_ms, most, at_least=False))
        if kind == "overhead":
            name = "primary: jobs/s that one Redis carries"
            reached.append(goal(name, rate, _WANTED_PER_SECOND, at_least=True))
        progress(f"  primary: {kind}: {redis_ms:.3f} ms a job, {rate:.0f} jobs/s")
    columns = ("workload", "jobs", "round trips a job", "Redis CPU ms a job", "jobs/s")
    return [
        Table("primary: recorded commands, replayed", columns, tuple(rows)),
        goals("primary: goals", reached),
    ]


def record(kind: str, *, quick: bool = False) -> Recording:
    """Run a workload and return the commands of its clients."""
    heard: list[bytes] = []
    with workload(kind, quick=quick) as work, place(VISIONQ, "ours", work.latency) as here:
        warming = CONCURRENCY * PROCESSES
        here.feed([work.warming] * warming, WARM)
        here.wait_for(warming)
        here.hold()
        here.feed(work.paths(work.jobs))
        data = _dump(here.redis)
        thread = threading.Thread(target=_listen, args=(here.redis, heard))
        thread.start()
        here.release()
        here.wait_for(warming + work.jobs)
        here.redis.echo(_END)
        thread.join()
    parsed = (_parsed(line) for line in heard)
    commands = [
        (client, command)
        for client, command in parsed
        if client != b"lua" and command[0].upper() not in _LEFT_OUT
    ]
    return Recording(data, commands, work.jobs)


def replay(recording: Recording) -> Replayed:
    """Send the recorded commands to a new server as fast as it takes them.

    Raises `RuntimeError` if it does not end as many jobs as the recorded one did.
    """
    with (
        tempfile.TemporaryDirectory(prefix="visionq-bench-") as folder,
        running_redis(Path(folder)) as server,
        Redis.from_url(server.url) as redis,
    ):
        load_missing(redis)
        _restore(redis, recording.data)
        ended, used = _ended(redis), _processor_seconds(redis)
        begun = perf_counter()
        _send_all(redis, recording.commands)
        seconds = perf_counter() - begun
        used, ended = _processor_seconds(redis) - used, _ended(redis) - ended
    if ended != recording.jobs:
        raise RuntimeError(f"the replay ended {ended} of {recording.jobs} jobs")
    return Replayed(recording.jobs / seconds, used * 1000 / recording.jobs)


def _send_all(redis: Redis, commands: Sequence[tuple[bytes, Sequence[bytes]]]) -> None:
    pool: Any = redis.connection_pool
    connections: dict[bytes, Any] = {}
    unread: dict[bytes, int] = {}  # client → replies that are still to come
    in_flight: deque[bytes] = deque()
    packed = []
    for client, command in commands:
        if client not in connections:
            connections[client] = pool.get_connection()
        is_blocking = command[0].upper() in _BLOCKING
        sent = [(b"MULTI",), command, (b"EXEC",)] if is_blocking else [command]
        packed.append((client, len(sent), connections[client].pack_commands(sent)))

    def read(client: bytes) -> None:
        for _ in range(unread.pop(client, 0)):
            with suppress(NoScriptError):  # of kombu's lock, which guards other messages
                connections[client].read_response(disable_decoding=True)

    for client, replies, sent in packed:
        read(client)
        connections[client].send_packed_command(sent)
        unread[client] = replies
        in_flight.append(client)
        if len(in_flight) > _WINDOW:
            read(in_flight.popleft())
    for client in in_flight:
        read(client)
    for connection in connections.values():
        connection.disconnect()


def _listen(redis: Redis, heard: list[bytes]) -> None:
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py's gap
        while _END not in (line := monitor.connection.read_response(disable_decoding=True)):
            heard.append(line)


def _parsed(line: bytes) -> tuple[bytes, list[bytes]]:
    """Return the client and the command of a line of `MONITOR`."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise RuntimeError(f"MONITOR said {line!r}")
    client, text = found.groups()
    command = [_ESCAPE.sub(_unescaped, part) for part in _PART.findall(text)]
    if _DISPATCH in command:
        # A replay is quicker than the run: a look that took jobs then would come too soon now.
        command[_REST] = b"0"
    return client, command


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    return bytes.fromhex(code[1:].decode()) if code[:1] == b"x" else _ESCAPED.get(code, code)


def _dump(redis: Redis) -> list[tuple[bytes, bytes]]:
    keys: list[bytes] = list(redis.scan_iter(count=1000))
    with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.dump(key)
        values = pipeline.execute()
    return [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]


def _restore(redis: Redis, data: Sequence[tuple[bytes, bytes]]) -> None:
    with redis.pipeline(transaction=False) as pipeline:
        for key, value in data:
            pipeline.restore(key, 0, value)
        pipeline.execute()


def _ended(redis: Redis) -> int:
    return int(redis.hget(COUNTS, "completed") or 0)


def _processor_seconds(redis: Redis) -> float:
    used: dict[str, float] = redis.info("cpu")
    return used["used_cpu_user"] + used["used_cpu_sys"]
