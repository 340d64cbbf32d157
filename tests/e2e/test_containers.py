"""The containers without an engine: their lines carried out, and jobs answered by them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from tests.support.containers import (
    CHECKOUT,
    Composed,
    Image,
    build_image,
    composed,
    own_folder,
    user_of_image,
)
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq.devstack.children import answers
from visionq.devstack.ports import free_ports
from visionq.devstack.redis_server import is_ready
from visionq.names import WORKERS
from visionq.redis_connection import connect
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from visionq.sdk import Job

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="containers are Linux"),
    pytest.mark.skipif(
        sys.platform == "linux" and os.geteuid() == 0 and shutil.which("setpriv") is None,
        reason="root needs setpriv to become the image's user",
    ),
]

#: What a newcomer without a key writes into `.env`.
ENV_FILE: Final = {
    "PROXYAPI_API_KEY": "",
    "REDIS_PASSWORD": "letters1",
    "VISIONQ_FLOWER_PASSWORD": "letters2",
    "VISIONQ_GATEWAY_KEY": "letters3",
    "COMPOSE_PROFILES": "simulator",
    "PROXYAPI_BASE_URL": "http://simulator:8080/openai/v1",
}


@contextmanager
def started(folder: Path, image: Image) -> Iterator[tuple[Composed, Job]]:
    """Run all services but workers, and give a job that waits for one."""
    redis, simulator, flower = map(str, free_ports(3, Random()))
    data = own_folder(folder / "data")
    mapped = {
        "redis:6379": f"127.0.0.1:{redis}",
        "simulator:8080": f"127.0.0.1:{simulator}",
        "8080": simulator,
        "5555": flower,
        "0.0.0.0": "127.0.0.1",  # noqa: S104  # replaced by loopback
        "/data": str(data),
        "/etc/redis.conf": str(folder / "redis.conf"),
        "requirepass": f"bind 127.0.0.1\nport {redis}\nrequirepass",
        "redis-cli ": f"redis-cli -p {redis} ",
    }
    with composed(folder, image, ENV_FILE, mapped) as services:
        services.start("redis")
        url = services.environment("worker")["VISIONQ_REDIS_URL"]
        until(lambda: is_ready(url), 20, "Redis to answer")
        for service in ("simulator", "flower"):
            services.start(service)
        with Client(redis_url=url) as client:
            job = client.submit(prompt="Что изображено?", images=[picture(1)])
            until(lambda: answers(int(simulator), "/healthz"), 30, "the simulator to answer")
            until(lambda: answers(int(flower), "/healthcheck"), 30, "Flower to answer")
            yield services, job


def start_worker(services: Composed) -> int:
    """Start one more worker, and return how many are registered then."""
    with connect(services.environment("worker")["VISIONQ_REDIS_URL"], "tests") as redis:
        before = int(redis.zcard(WORKERS))
        services.start("worker")
        until(lambda: int(redis.zcard(WORKERS)) > before, 120, "the worker to register")
        return int(redis.zcard(WORKERS))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Composed, Job]]:
    """Everything runs, with a first worker; the job was submitted before it."""
    with started(tmp_path_factory.mktemp("compose"), CHECKOUT) as (services, job):
        assert services.health("worker").returncode == 1
        start_worker(services)
        yield services, job


def test_job_is_answered(stack: tuple[Composed, Job]) -> None:
    """A job that was submitted while there was no worker is answered once there is one."""
    _, job = stack
    result = job.wait(timeout=30)
    assert "64x48" in result.text
    assert not result.cached


def test_ask_in_a_container(stack: tuple[Composed, Job], tmp_path: Path) -> None:
    """`docker compose run worker visionq ask` answers about a file, as the quickstart says."""
    services, _ = stack
    (tmp_path / "photo.png").write_bytes(picture(2, (80, 60)))
    asked = services.run(
        "worker", ["visionq", "ask", str(tmp_path / "photo.png"), "-p", "Что тут?"]
    )
    assert asked.returncode == 0, asked.stderr
    assert "80x60" in asked.stdout


@pytest.mark.parametrize("service", ["redis", "worker", "flower", "simulator"])
def test_health_checks_pass(stack: tuple[Composed, Job], service: str) -> None:
    """Each service that does its work is healthy by its own health check."""
    services, _ = stack
    if service == "redis" and shutil.which("redis-cli") is None:
        pytest.skip("the check needs redis-cli, which the image of Redis has")
    checked = services.health(service)
    assert checked.returncode == 0, checked.stderr


def test_nobody_is_root(stack: tuple[Composed, Job]) -> None:
    """No service runs as root; ours run as the image's user where the tests may choose."""
    services, _ = stack
    expected = user_of_image() if os.geteuid() == 0 else os.geteuid()
    users = {psutil.Process(process.pid).uids().effective for process in services.running}
    assert users == {expected}


def test_key_is_the_workers_alone(stack: tuple[Composed, Job]) -> None:
    """Of all services only the worker is given the variables of the provider."""
    services, _ = stack
    given = {
        name for name in services.file["services"] if "env_file" in services.file["services"][name]
    }
    assert given == {"worker"}
    assert "PROXYAPI_API_KEY" in services.environment("worker")


def test_worker_leaves_and_another_takes_over(stack: tuple[Composed, Job]) -> None:
    """With two workers one may be stopped at any time: it ends in order, and work goes on."""
    services, _ = stack
    first = services.running[-1]
    assert start_worker(services) == 2
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    with Client(redis_url=services.environment("worker")["VISIONQ_REDIS_URL"]) as client:
        result = client.submit(prompt="Какого цвета?", images=[picture(3)]).wait(timeout=30)
    assert "64x48" in result.text


@pytest.mark.long
@pytest.mark.timeout(900)
def test_image_is_built_and_works(tmp_path: Path) -> None:
    """The Dockerfile's lines, in an empty folder and as no root, make what answers a job."""
    image = build_image(tmp_path)
    with started(tmp_path, image) as (services, job):
        start_worker(services)
        assert "64x48" in job.wait(timeout=30).text
        checked = services.health("worker")
        assert checked.returncode == 0, checked.stderr
        version = services.run("worker", ["visionq", "--version"])
        assert version.returncode == 0
        where = services.run("worker", ["sh", "-c", "command -v visionq"]).stdout.strip()
        assert where == str(image.bin / "visionq")
