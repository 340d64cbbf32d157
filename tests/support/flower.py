"""A Flower of its own for tests, and what they ask it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import Celery

from tests.support.waiting import until
from visionq.devstack.children import answers
from visionq.devstack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER = "visionq"
PASSWORD = "pass:with colon"  # noqa: S105  # of a Flower that lives for one test
GUEST = "guest"
GUEST_PASSWORD = "only-looking"  # noqa: S105  # likewise
TABLE = (
    "/tasks/datatable?draw=1&start=0&length=100&search%5Bvalue%5D=&order%5B0%5D%5Bcolumn%5D=0"
    "&columns%5B0%5D%5Bdata%5D=name&order%5B0%5D%5Bdir%5D=asc"
)


@dataclass(frozen=True)
class Running:
    port: int
    pid: int
    redis_url: str
    log: Path
    prefix: str = ""

    def ask(self, method: str, path: str, user: str = "", password: str = "") -> tuple[int, str]:
        headers = {}
        if user:
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, self.prefix + path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def get(self, path: str, user: str = "", password: str = "") -> tuple[int, str]:
        return self.ask("GET", path, user, password)

    def read(self, path: str) -> tuple[int, str]:
        return self.get(path, USER, PASSWORD)

    def data(self, path: str) -> Any:
        status, body = self.read(path)
        assert status == 200, body
        return json.loads(body)

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return what the workers' page has in its table, by worker."""
        return {row["hostname"]: row for row in self.data("/workers?json=1")["data"]}

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return what the tasks' page has in its table, by task."""
        return {row["uuid"]: row for row in self.data(TABLE)["data"]}


@contextmanager
def running_flower(folder: Path, redis_url: str, **variables: str) -> Iterator[Running]:
    """Run `visionq flower` for an operator and a guest."""
    port, log = free_port(), folder / "flower.log"
    environment = os.environ | {
        "VISIONQ_REDIS_URL": redis_url,
        "VISIONQ_FLOWER_PASSWORD": PASSWORD,
        "VISIONQ_FLOWER_GUEST_PASSWORD": GUEST_PASSWORD,
        **variables,
    }
    prefix = variables.get("VISIONQ_FLOWER_URL_PREFIX", "").rstrip("/")
    command = [sys.executable, "-m", "visionq.cli", "flower", "--port", str(port)]
    command += ["--database", str(folder / "visionq-flower")]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        until(lambda: answers(port, f"{prefix}/healthcheck"), 30, "Flower to answer")
        yield Running(port, process.pid, redis_url, log, prefix)
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


def send_events(redis_url: str, sender: str, *events: dict[str, Any]) -> None:
    """Send events as workers and callers do; each has a `type`."""
    app = Celery("sender", broker=redis_url)
    with app.connection() as connection:
        dispatcher = app.events.Dispatcher(connection, hostname=sender)
        for event in events:
            fields = dict(event)
            dispatcher.send(fields.pop("type"), **fields)
    app.close()
