"""Flower as `visionq flower` starts it: closed without its password, silent about prompts."""

from __future__ import annotations

import base64
import http.client
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest
from celery import Celery

from visionq.sandbox.ports import free_port
from visionq.sandbox.redis_server import running_redis
from visionq.stack.children import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USER = "operator"
PASSWORD = "pass:with colon"  # noqa: S105  # of a Flower that lives for one test
SECRET = "What is on my secret picture"  # noqa: S105  # a prompt
TASK_ID = "11111111-2222-3333-4444-555555555555"
TABLE = (
    "/tasks/datatable?draw=1&start=0&length=10&search%5Bvalue%5D=&order%5B0%5D%5Bcolumn%5D=0"
    "&columns%5B0%5D%5Bdata%5D=name&order%5B0%5D%5Bdir%5D=asc"
)
PAGES = ("/", "/workers", "/tasks", TABLE, f"/task/{TASK_ID}", "/broker")
API = ("/api/tasks", f"/api/task/info/{TASK_ID}", "/api/workers", "/api/task/types")


@dataclass(frozen=True)
class Running:
    port: int
    pid: int
    redis_url: str
    log: Path

    def get(self, path: str, user: str = "", password: str = "") -> tuple[int, str]:
        headers = {}
        if user:
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def read(self, path: str) -> tuple[int, str]:
        return self.get(path, USER, PASSWORD)


@contextmanager
def running_flower(folder: Path, redis_url: str) -> Iterator[Running]:
    port, log = free_port(), folder / "flower.log"
    environment = os.environ | {
        "VISIONQ_REDIS_URL": redis_url,
        "VISIONQ_FLOWER_USER": USER,
        "VISIONQ_FLOWER_PASSWORD": PASSWORD,
    }
    command = [sys.executable, "-m", "visionq.cli", "flower", "--port", str(port)]
    command += ["--database", str(folder / "visionq-flower")]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        wait_until(lambda: answers(port, "/healthcheck"))
        yield Running(port, process.pid, redis_url, log)
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("flower")
    with (
        running_redis(folder / "redis") as server,
        running_flower(folder, server.url) as running,
    ):
        yield running


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)


def show_task(flower: Running) -> None:
    """Let Flower see a task that a plain caller sent, prompt and all."""
    app = Celery("caller", broker=flower.redis_url)

    def send_until_seen() -> bool:
        with app.connection() as connection:
            dispatcher = app.events.Dispatcher(connection, hostname="caller@here")
            dispatcher.send(
                "task-received",
                uuid=TASK_ID,
                name="visionq.analyze",
                args="()",
                kwargs=f"{{'prompt': '{SECRET}'}}",
            )
            dispatcher.send("task-succeeded", uuid=TASK_ID, result=f"'{SECRET}'", runtime=1.0)
        return TASK_ID in flower.read("/api/tasks")[1]

    wait_until(send_until_seen)
    app.close()


@pytest.fixture(scope="module")
def seen(flower: Running) -> Running:
    show_task(flower)
    return flower


@pytest.mark.parametrize("path", PAGES + API)
def test_closed(seen: Running, path: str) -> None:
    """No page and no call of the API answers without credentials, or with wrong ones."""
    assert seen.get(path)[0] == 401
    assert seen.get(path, USER, "guess")[0] == 401
    assert seen.get(path, "guess", PASSWORD)[0] == 401


@pytest.mark.parametrize("path", PAGES + API)
def test_open_with_password(seen: Running, path: str) -> None:
    """With the credentials every page and call answers, and none shows a prompt or an answer."""
    status, body = seen.read(path)
    assert status == 200
    assert SECRET not in body
    if path in (TABLE, "/api/tasks", f"/task/{TASK_ID}", f"/api/task/info/{TASK_ID}"):
        assert "(hidden)" in body


def test_password_is_not_shown(flower: Running) -> None:
    """A password that the operator set is neither in the process list nor in the log."""
    assert PASSWORD not in " ".join(psutil.Process(flower.pid).cmdline())
    assert PASSWORD not in flower.log.read_text()


def test_is_quiet_and_local(flower: Running) -> None:
    """Flower listens on loopback alone and says one line."""
    addresses = {
        connection.laddr.ip
        for connection in psutil.Process(flower.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}
    assert len(flower.log.read_text().splitlines()) == 1


def test_never_open(flower: Running) -> None:
    """Without a password set, one is made up and shown once, and only it opens the door."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if "FLOWER" not in name}
    environment |= {"VISIONQ_REDIS_URL": flower.redis_url}
    command = [sys.executable, "-m", "visionq.cli", "flower", "--port", str(port)]
    command += ["--database", str(flower.log.with_name("second"))]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:  # our own command
        assert process.stderr is not None
        password = process.stderr.readline().split()[-1]
        wait_until(lambda: answers(port, "/healthcheck"))
        second = Running(port, process.pid, flower.redis_url, flower.log)
        assert second.get("/tasks")[0] == 401
        assert second.get("/tasks", "visionq", password)[0] == 200
        process.terminate()
        assert password not in process.stderr.read()


def test_remembers(flower: Running, tmp_path: Path) -> None:
    """What Flower saw is there after a restart, and its file has no prompt."""
    with running_flower(tmp_path, flower.redis_url) as first:
        show_task(first)
    kept = [
        path for path in tmp_path.glob("visionq-flower*") if SECRET.encode() in path.read_bytes()
    ]
    assert kept == []
    with running_flower(tmp_path, flower.redis_url) as second:
        assert TASK_ID in second.read("/api/tasks")[1]
        assert second.log.read_text().count("\n") == 1
