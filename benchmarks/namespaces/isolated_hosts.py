"""16 worker processes, each in its own network namespace: nothing assumes localhost.

Redis and the simulator listen only on the bridge's address. Every job must complete exactly once.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psutil

from benchmarks.comparison import progress
from benchmarks.namespaces.network import Network, NotPermitted, network
from benchmarks.tables import Table, goal, goals
from tests.support.fleet import jobs
from tests.support.waiting import until
from visionq.contract import ResultDocument
from visionq.devstack.redis_server import running_redis
from visionq.devstack.simulator.process import running_simulator
from visionq.names import WORKERS
from visionq.redis_connection import connect
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

_WORKERS: Final = 16
_THREADS: Final = 4
_JOBS: Final = 1_600
#: Seconds for all workers to register, and for all jobs.
_START: Final = 30.0 * _WORKERS
_PATIENCE: Final = 600.0
#: Check the connections to the provider after this many results.
_LOOK_EVERY: Final = 10
_COLUMNS: Final = (
    "namespaces", "threads each", "jobs", "completed", "asked", "billed twice",
    "namespaces that called", "addresses at Redis", "seconds",
)  # fmt: skip
_TITLE: Final = "namespaces: workers in networks of their own"


def measure(*, quick: bool = False) -> list[Table]:
    """Return the fleet's figures, or the reason why it cannot run."""
    try:
        with network(_WORKERS) as hosts:
            return _measured(hosts, _JOBS // 4 if quick else _JOBS)
    except NotPermitted as error:
        progress(f"  namespaces: not permitted here: {error}")
        row = ("namespaces: jobs completed, %", None, "≥ 100", "not measured")
        table = Table(_TITLE, ("not measured",), ((f"not permitted here: {error}",),))
        return [table, goals("namespaces: goals", [row])]


def _measured(hosts: Network, count: int) -> list[Table]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="visionq-bench-")))
        server = stack.enter_context(
            running_redis(folder / "redis", password=secrets.token_hex(8), host=hosts.address)
        )
        simulator = stack.enter_context(running_simulator(host=hosts.address, latency_s=0.2))
        redis = stack.enter_context(connect(server.url, "visionq-bench"))
        client = stack.enter_context(Client(redis_url=server.url))
        environment = {
            "VISIONQ_REDIS_URL": server.url,
            "PROXYAPI_BASE_URL": simulator.provider_url,
            "PROXYAPI_API_KEY": "bench",
        }
        stack.enter_context(_workers(hosts, environment, folder))
        until(lambda: redis.zcard(WORKERS) == _WORKERS, _START, "workers registered")
        progress(f"  namespaces: {_WORKERS} workers registered")
        started = time.monotonic()
        submitted = [job.id for job in client.submit_many(jobs(count, reuse="off"))]
        completed, callers = 0, set[str]()
        for number, (_, end) in enumerate(client.results(submitted, timeout=_PATIENCE)):
            completed += isinstance(end, ResultDocument)
            if number % _LOOK_EVERY == 0:
                callers |= _callers(simulator.pid)
        seconds = time.monotonic() - started
        own = set(hosts.hosts.values())
        addresses, called = _addresses(redis) & own, len(callers & own)
        bill = simulator.bill()
    twice = bill["billed"] - len(bill["digests"])
    row = (_WORKERS, _THREADS, count, completed, bill["calls"], twice, called, len(addresses))
    reached = [
        goal("namespaces: jobs completed, %", completed * 100 / count, 100, at_least=True),
        goal("namespaces: that called the provider", float(called), _WORKERS, at_least=True),
    ]
    note = (
        f"Redis and simulator on {hosts.address}, workers on their own addresses behind a"
        " bridge, loopback down in each namespace."
    )
    figures = (*(float(figure) for figure in row), seconds)
    return [Table(_TITLE, _COLUMNS, (figures,), note), goals("namespaces: goals", reached)]


@contextmanager
def _workers(hosts: Network, environment: dict[str, str], folder: Path) -> Iterator[None]:
    """Run a worker in each namespace inside the block."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for host in hosts.hosts:
            command = ["ip", "netns", "exec", host, sys.executable, "-m", "visionq.cli", "worker"]
            command += ["--name", host, "--concurrency", str(_THREADS)]
            with (folder / f"{host}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(  # noqa: S603  # our own command
                        command, env={**os.environ, **environment}, stdout=log, stderr=log
                    )
                )
        yield
    finally:
        for worker in running:
            worker.terminate()
        _, alive = psutil.wait_procs(
            [psutil.Process(one.pid) for one in running if one.poll() is None], timeout=30
        )
        for process in alive:
            process.kill()
        for worker in running:
            worker.wait()


def _addresses(redis: Redis) -> set[str]:
    """Return the addresses of all clients connected to Redis."""
    return {urlsplit(f"//{one['addr']}").hostname or "" for one in redis.client_list()}


def _callers(pid: int) -> set[str]:
    """Return the addresses of all clients connected to the provider."""
    connections = psutil.Process(pid).net_connections(kind="tcp")
    return {one.raddr.ip for one in connections if one.raddr}
