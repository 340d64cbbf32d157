"""Flower as `visionq flower` starts it: closed without its password, silent about prompts."""

from __future__ import annotations

import os
import re
import shelve
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from flower.urls import handlers  # type: ignore[import-untyped]  # no annotations
from tornado.routing import PathMatches
from tornado.web import Application

from monitoring.flower.masking import SilentState
from tests.support.flower import (
    GUEST,
    GUEST_PASSWORD,
    PASSWORD,
    TABLE,
    USER,
    Running,
    running_flower,
    send_events,
)
from tests.support.waiting import until
from visionq.devstack.children import answers
from visionq.devstack.ports import free_port
from visionq.devstack.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "What is on my secret picture"  # noqa: S105  # a prompt
TASK_ID = "11111111-2222-3333-4444-555555555555"
PAGES = ("/", "/workers", "/tasks", TABLE, f"/task/{TASK_ID}", "/broker")
API = ("/api/tasks", f"/api/task/info/{TASK_ID}", "/api/workers", "/api/task/types")

#: `/metrics` names workers, which is why it listens on loopback.
OPEN = {"/metrics", "/healthcheck", "/logout", "/static/some"}
ACTIONS = (
    "/api/worker/shutdown/somebody@here",
    "/api/worker/pool/grow/somebody@here",
    "/api/worker/queue/cancel-consumer/somebody@here?queue=visionq.bulk",
    "/api/task/send-task/visionq.analyze",
    "/api/task/apply/visionq.analyze",
    f"/api/task/revoke/{TASK_ID}",
)


def every_path() -> set[str]:
    """Return an example of each path that this Flower knows."""
    matchers = [rule.matcher for rule in Application(handlers).wildcard_router.rules]
    patterns = [one.regex.pattern.rstrip("$") for one in matchers if isinstance(one, PathMatches)]
    paths = {pattern.replace("/?", "").replace("(.+)", "some") for pattern in patterns}
    return {path.replace("(.*)", "some") for path in paths if path.startswith("/")}


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("flower")
    with (
        running_redis(folder / "redis") as server,
        running_flower(folder, server.url) as running,
    ):
        yield running


def show_task(flower: Running) -> None:
    """Let Flower see a task that a plain caller sent, prompt and all."""

    def send_until_seen() -> bool:
        send_events(
            flower.redis_url,
            "caller@here",
            {
                "type": "task-received",
                "uuid": TASK_ID,
                "name": "visionq.analyze",
                "args": "()",
                "kwargs": f"{{'prompt': '{SECRET}'}}",
            },
            {"type": "task-succeeded", "uuid": TASK_ID, "result": f"'{SECRET}'", "runtime": 1.0},
        )
        return TASK_ID in flower.read("/api/tasks")[1]

    until(send_until_seen, 30, "the task in Flower")


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


@pytest.mark.parametrize("path", sorted(every_path() - OPEN))
def test_all_of_flower_is_closed(flower: Running, path: str) -> None:
    """This Flower refuses strangers everything but pages without tasks and workers."""
    assert {flower.ask(method, path)[0] for method in ("GET", "POST")} <= {401, 404, 405}


@pytest.mark.parametrize("path", PAGES + API)
def test_open_with_password(seen: Running, path: str) -> None:
    """With the credentials every page and call answers, and none shows a prompt or an answer."""
    status, body = seen.read(path)
    assert status == 200
    assert SECRET not in body
    if path in (TABLE, "/api/tasks", f"/task/{TASK_ID}", f"/api/task/info/{TASK_ID}"):
        assert "(hidden)" in body


@pytest.mark.parametrize("path", PAGES + API)
def test_guests_look(seen: Running, path: str) -> None:
    """A guest sees what the operator sees, by a password that opens no other door."""
    assert seen.get(path, GUEST, GUEST_PASSWORD)[0] == 200
    assert seen.get(path, GUEST, PASSWORD)[0] == 401
    assert seen.get(path, USER, GUEST_PASSWORD)[0] == 401


@pytest.mark.parametrize("path", ACTIONS)
def test_guests_touch_nothing(seen: Running, path: str) -> None:
    """Every change is refused to guests, and needs a password at all."""
    assert seen.ask("POST", path, GUEST, GUEST_PASSWORD)[0] == 403
    assert seen.ask("POST", path, GUEST, "guess")[0] == 401
    assert seen.ask("POST", path)[0] == 401


def test_guests_get_the_table(seen: Running) -> None:
    """The table of tasks, which the page asks for by POST, is for guests too."""
    status, body = seen.ask("POST", TABLE, GUEST, GUEST_PASSWORD)
    assert status == 200
    assert TASK_ID in body


def test_buttons_are_the_operators(flower: Running) -> None:
    """The page of a task that could be revoked has its button for the operator alone."""
    send_events(flower.redis_url, "caller@here", {"type": "task-received", "uuid": "to-revoke"})
    until(lambda: flower.read("/task/to-revoke")[0] == 200, 10, "the task in Flower")
    assert 'id="task-revoke"' in flower.read("/task/to-revoke")[1]
    assert 'id="task-revoke"' not in flower.get("/task/to-revoke", GUEST, GUEST_PASSWORD)[1]


def test_answers_are_not_given_away(seen: Running) -> None:
    """Flower's API has no result of a job, since it has no result backend."""
    assert seen.read(f"/api/task/result/{TASK_ID}")[0] == 503


def test_offline_workers_go(flower: Running, tmp_path: Path) -> None:
    """A worker unheard of for a minute is no longer shown; one that just fell silent still is."""
    state = SilentState(max_workers_in_memory=200, max_tasks_in_memory=10)
    for name, seconds in (("gone@here", 70), ("going@here", 20)):
        moment = time.time() - seconds
        heartbeat = {"type": "worker-heartbeat", "hostname": name, "freq": 2.0, "active": 0}
        state.event(heartbeat | {"timestamp": moment, "local_received": moment, "clock": 1})
    with shelve.open(str(tmp_path / "visionq-flower")) as kept:  # noqa: S301  # our own
        kept["events"], kept["counter"] = state, dict(state.counter)
    with running_flower(tmp_path, flower.redis_url) as later:
        assert later.data("/api/workers?status=1") == {"gone@here": False, "going@here": False}
        assert [*later.workers()] == ["going@here"]


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
        until(lambda: answers(port, "/healthcheck"), 30, "the second Flower")
        second = Running(port, process.pid, flower.redis_url, flower.log)
        assert second.get("/tasks")[0] == 401
        assert second.get("/tasks", "visionq", password)[0] == 200
        process.terminate()
        assert password not in process.stderr.read()


def test_remembers(flower: Running, tmp_path: Path) -> None:
    """Flower's tasks are there after a restart, and its file has no prompt."""
    with running_flower(tmp_path, flower.redis_url) as first:
        show_task(first)
    kept = [
        path for path in tmp_path.glob("visionq-flower*") if SECRET.encode() in path.read_bytes()
    ]
    assert kept == []
    with running_flower(tmp_path, flower.redis_url) as second:
        assert TASK_ID in second.read("/api/tasks")[1]
        assert second.log.read_text().count("\n") == 1


def test_url_prefix(flower: Running, tmp_path: Path) -> None:
    """Below a prefix every page, and every file and link that it names, is found; and no other."""
    prefix = "/team/flower"
    with running_flower(
        tmp_path, flower.redis_url, VISIONQ_FLOWER_URL_PREFIX=prefix + "/"
    ) as below:
        pages = [below.read(page) for page in ("/", "/workers", "/tasks", "/broker")]
        assert [status for status, _ in pages] == [200] * 4
        named = {link for _, body in pages for link in re.findall(r'(?:href|src)="(/[^"]*)"', body)}
        assert {f"{prefix}/tasks", f"{prefix}/static/js/flower.js"} <= {
            link.partition("?")[0] for link in named
        }
        assert all(link.startswith(prefix + "/") for link in named)
        assert {below.read(link.removeprefix(prefix))[0] for link in named} == {200}
        assert below.log.read_text().rstrip().endswith(f"{prefix}/")
