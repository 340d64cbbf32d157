"""Real Redis servers for the tests: one of each kind for a session, emptied for every test."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from openai import OpenAI

from tests.support.certificates import make_certificate
from tests.support.ledger import LedgerDriver
from tests.support.redis_servers import answering, server_program
from tests.support.warm_processes import running_simulator
from tests.support.webhook_receiver import Receiver, receiving
from tests.support.worker import Bench
from visionq.devstack.ports import free_ports
from visionq.devstack.redis_server import running_redis
from visionq.devstack.simulator.simulator_settings import SimulatorSettings
from visionq.redis_connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.devstack.simulator import RunningSimulator

#: The servers and addresses on which the ledger must behave the same.
KINDS: Final = ("tcp", "unix-6.2", "tls")


@pytest.fixture(scope="session")
def redis_session_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis"), appendonly=False) as server:
        yield server.url


@pytest.fixture
def redis_url(redis_session_url: str) -> Iterator[str]:
    with _client(redis_session_url):
        yield redis_session_url


@pytest.fixture
def redis(redis_session_url: str) -> Iterator[Redis]:
    with _client(redis_session_url) as client:
        yield client


@pytest.fixture
def driver(redis: Redis) -> LedgerDriver:
    return LedgerDriver(redis)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(running: RunningSimulator) -> RunningSimulator:
    running.configure(**SimulatorSettings().model_dump(mode="json"))
    running.reset_bill()
    return running


@pytest.fixture(scope="module")
def client(running: RunningSimulator) -> Iterator[OpenAI]:
    with OpenAI(base_url=running.provider_url, api_key="sk-any", max_retries=0) as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def bench(redis: Redis, simulator: RunningSimulator) -> Iterator[Bench]:
    bench = Bench(redis, simulator)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def unix_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("unix")
    socket = folder / "redis.sock"
    options = {"port": "0", "unixsocket": str(socket), "dir": str(folder), "save": ""}
    url = f"unix://{socket}?db=0"
    with answering(_command(server_program("6.2"), options), folder, url):
        yield url


@pytest.fixture(scope="session")
def tls_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, program = tmp_path_factory.mktemp("tls"), shutil.which("redis-server")
    if program is None or not _has_tls(Path(program)):
        pytest.skip("no redis-server with TLS on PATH")
    certificate, key, port = (
        folder / "certificate.pem",
        folder / "key.pem",
        free_ports(1, Random())[0],
    )
    make_certificate(certificate, key)
    options = {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-auth-clients": "no",
        "bind": "127.0.0.1",
        "dir": str(folder),
        "save": "",
    }
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
    with answering(_command(program, options), folder, url):
        yield url


def _command(program: str, options: dict[str, str]) -> list[str]:
    named = ((f"--{name}", value) for name, value in options.items())
    return [program, *(word for pair in named for word in pair)]


@pytest.fixture(params=KINDS)
def any_redis(request: pytest.FixtureRequest) -> Iterator[Redis]:
    fixture = {"tcp": "redis_session_url", "unix-6.2": "unix_url", "tls": "tls_url"}[request.param]
    with _client(request.getfixturevalue(fixture)) as client:
        yield client


@contextmanager
def _client(url: str) -> Iterator[Redis]:
    with connect(url, "tests") as client:
        client.flushall()
        yield client


def _has_tls(program: Path) -> bool:
    """A server built without TLS complains of the option, one built with it only of the word."""
    said = subprocess.run(  # found on this machine
        [program, "--tls-port", "0", "--nonsense"], capture_output=True, text=True, check=False
    )
    return "tls-port" not in said.stdout + said.stderr and shutil.which("openssl") is not None
