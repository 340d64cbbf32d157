"""A worker as a process: what it logs, how it ends, and what it does when there is no room."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from tests.support.pictures import data_url, picture
from tests.support.waiting import until
from tests.support.warm_processes import WarmProcess
from visionq import names
from visionq.devstack.redis_server import running_redis
from visionq.ledger.views import result_of
from visionq.redis_connection import connect
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from visionq.devstack.simulator import RunningSimulator

PROMPT = "canary-prompt-7316"
KEY = "sk-canary-key-4242"


@dataclass
class Worker:
    process: WarmProcess
    log: Path

    def text(self) -> str:
        return self.log.read_text()


@contextmanager
def working(
    url: str,
    simulator: RunningSimulator,
    folder: Path,
    *,
    slots: int = 4,
    extra: dict[str, str] | None = None,
) -> Iterator[Worker]:
    environment = {
        **os.environ,
        "VISIONQ_REDIS_URL": url,
        "PROXYAPI_BASE_URL": simulator.provider_url,
        "PROXYAPI_API_KEY": KEY,
        **(extra or {}),
    }
    log = folder / "worker.log"
    process = WarmProcess(["worker", "--concurrency", str(slots)], environment, log)
    try:
        yield Worker(process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def registered(url: str) -> bool:
    with connect(url, "tests") as redis:
        return bool(redis.zcard(names.WORKERS))


@dataclass
class Caller:
    """A plain Celery program, whose results are read without it."""

    app: Celery
    redis: Redis

    def send(self, document: dict[str, Any], task: str = names.TASK_ANALYZE) -> str:
        return str(self.app.send_task(task, kwargs=document, queue=names.QUEUE_INTAKE).id)

    def result(self, job_id: str, seconds: float = 40) -> tuple[str, Any]:
        """Return Celery's status and result once the job has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status, result = result_of(self.redis, job_id) or ("PENDING", None)
            if status in {"SUCCESS", "FAILURE"}:
                return status, result
            time.sleep(0.05)
        raise AssertionError(f"{job_id} does not end: {status}")


@contextmanager
def calling(url: str) -> Iterator[Caller]:
    app = Celery("caller", broker=url, set_as_current=False)
    with connect(url, "tests") as redis:
        yield Caller(app, redis)
    app.close()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_logs_tell_all_but_the_content(
    redis: Redis, redis_url: str, simulator: RunningSimulator, tmp_path: Path, log_format: str
) -> None:
    """Lines name job, tenant, attempt and stage; prompt, key and pictures are in none of them."""
    simulator.configure(faults_next=["broken_json"])
    extra = {"VISIONQ_LOG_FORMAT": log_format, "VISIONQ_LOG_LEVEL": "DEBUG"}
    document = {"prompt": PROMPT, "images": [{"url": data_url(41)}], "tenant": "team-a"}
    with (
        working(redis_url, simulator, tmp_path, extra=extra) as worker,
        calling(redis_url) as caller,
    ):
        until(lambda: registered(redis_url), 100)
        job_id = caller.send(document)
        bad = caller.send({**document, "images": [{"blob": PROMPT}]})
        caller.send(document, "visionq.analyse")  # misspelt
        _send_raw(redis, json.dumps([[], [PROMPT], {}]))
        _send_raw(redis, f'[[], {{"prompt": "{PROMPT}')
        _, answer = caller.result(job_id)
        assert answer["attempts"] == 2
        status, error = caller.result(bad)
        assert (status, error["exc_type"]) == ("FAILURE", "InvalidJob")
        until(lambda: redis.llen(names.QUEUE_INTAKE) == 0)
        told = ("visionq.analyse", "job.completed", "job.waiting")
        until(lambda: all(word in worker.text() for word in told), 20)
    text = worker.text()
    for secret in (PROMPT, KEY, data_url(41)[22:60]):
        assert secret not in text
    lines = [line for line in text.splitlines() if job_id in line]
    assert any("job.completed" in line and "team-a" in line for line in lines)
    assert any("job.waiting" in line and "billing_unknown" in line for line in lines)
    assert "visionq.analyse" in text
    if log_format == "json":
        events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        (completed,) = [event for event in events if event["event"] == "job.completed"]
        assert completed["job"] == job_id
        assert (completed["tenant"], completed["attempt"]) == ("team-a", 2)
        assert all("timestamp" in event and "level" in event for event in events)
    assert worker.process.poll() == 0


def _send_raw(redis: Redis, body: str) -> None:
    """Put a message with any body on the queue."""
    redis.lpush(
        names.QUEUE_INTAKE,
        json.dumps(
            {
                "body": base64.b64encode(body.encode()).decode(),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": {
                    "id": "broken-1",
                    "task": names.TASK_ANALYZE,
                    "kwargsrepr": body,
                    "argsrepr": "()",
                },
                "properties": {
                    "body_encoding": "base64",
                    "correlation_id": "broken-1",
                    "delivery_info": {"exchange": "", "routing_key": names.QUEUE_INTAKE},
                    "delivery_mode": 2,
                    "delivery_tag": "broken-tag-1",
                },
            }
        ),
    )


def test_a_second_sigterm_ends_a_worker_that_can_t_write(
    simulator: RunningSimulator, tmp_path: Path
) -> None:
    """With Redis gone for good a paid answer is held on to, until someone asks a second time."""
    simulator.configure(latency_s=1)
    with (
        running_redis(tmp_path / "redis") as server,
        working(server.url, simulator, tmp_path) as worker,
        Client(redis_url=server.url) as client,
    ):
        until(lambda: registered(server.url), 100)
        job = client.submit(prompt="?", images=[picture(42)])
        until(lambda: simulator.bill()["calls"] == 1)
        server.kill()
        worker.process.terminate()
        time.sleep(0.2)
        worker.process.terminate()  # the same request, sent by another hand
        with pytest.raises(subprocess.TimeoutExpired):
            worker.process.wait(4)
        worker.process.terminate()
        assert worker.process.wait(3) == 1
        server.start()
        assert client.get(job).state == "in_progress"  # until its lease lapses


def test_an_idle_worker_ends_while_redis_stands_still(
    simulator: RunningSimulator, tmp_path: Path
) -> None:
    """A worker that works on nothing ends within its grace, though Redis does not answer."""
    with (
        running_redis(tmp_path / "redis") as server,
        working(server.url, simulator, tmp_path) as worker,
    ):
        until(lambda: registered(server.url), 100)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            worker.process.terminate()
            assert worker.process.wait(60) == 0
        finally:
            os.kill(server.pid, signal.SIGCONT)
    assert "ended without taking leave" in worker.text()


def test_sigquit_ends_a_worker_at_once(
    redis_url: str, simulator: RunningSimulator, tmp_path: Path
) -> None:
    """SIGQUIT does not wait for calls that are out, whose jobs are then taken over."""
    simulator.configure(latency_s=20)
    with (
        working(redis_url, simulator, tmp_path) as worker,
        Client(redis_url=redis_url) as client,
    ):
        until(lambda: registered(redis_url), 100)
        client.submit(prompt="?", images=[picture(43)])
        until(lambda: simulator.bill()["calls"] == 1)
        worker.process.send_signal(signal.SIGQUIT)
        assert worker.process.wait(3) == 1


def nearly_full(redis: Redis) -> None:
    """Leave Redis a tenth of its memory: new jobs are refused, those entered go on."""
    # So much that what connections and scripts take and give back changes nothing.
    redis.setrange("ballast", 30_000_000, b"0")
    used: Any = redis.info("memory")
    redis.config_set("maxmemory", int(used["used_memory"] / 0.9))


def test_a_full_ledger_does_not_stop_the_jobs_in_it(
    redis: Redis, redis_url: str, simulator: RunningSimulator, tmp_path: Path
) -> None:
    """Messages that a full ledger refuses stay in their queue; even one thread works on."""
    with (
        working(redis_url, simulator, tmp_path, slots=1) as worker,
        calling(redis_url) as caller,
        Client(redis_url=redis_url) as client,
    ):
        until(lambda: registered(redis_url), 100)
        simulator.configure(latency_s=1)
        entered = [client.submit(prompt="?", images=[picture(50 + n)]) for n in range(3)]
        nearly_full(redis)
        try:
            document = {"prompt": "?", "images": [{"url": "http://127.0.0.1:9/a.png"}]}
            sent = [caller.send(document) for _ in range(2)]
            for job in entered:
                assert job.wait(timeout=30).text
            until(lambda: "intake.ledger_full" in worker.text(), 20)
        finally:
            redis.config_set("maxmemory", 0)
        for job_id in sent:  # entered at last, and refused for its address
            assert caller.result(job_id)[1]["exc_type"] == "UnsafeUrl"
    assert worker.process.poll() == 0


def test_a_restart_of_redis_under_messages_in_hand(
    simulator: RunningSimulator, tmp_path: Path
) -> None:
    """A worker that holds messages not yet acknowledged lives through a restart of Redis."""
    with (
        running_redis(tmp_path / "redis") as server,
        working(server.url, simulator, tmp_path) as worker,
        calling(server.url) as caller,
        Client(redis_url=server.url) as client,
    ):
        until(lambda: registered(server.url), 100)
        nearly_full(caller.redis)
        for _ in range(2):
            caller.send({"prompt": "?", "images": [{"url": "http://127.0.0.1:9/a.png"}]})
        until(lambda: "intake.ledger_full" in worker.text(), 20)
        assert caller.redis.hlen("unacked") == 2
        server.kill()
        time.sleep(1)
        server.start()
        assert client.submit(prompt="?", images=[picture(60)]).wait(timeout=30).text
        assert worker.process.poll() is None


@pytest.mark.parametrize(
    ("name", "value"), [("VISIONQ_PRICES_FILE", "none.toml"), ("VISIONQ_DETECTORS", "none_such")]
)
def test_a_worker_that_can_t_be_put_together(
    redis_url: str, simulator: RunningSimulator, tmp_path: Path, name: str, value: str
) -> None:
    """A worker without prices or a detector ends, instead of failing everybody's messages."""
    missing = {name: value}
    with (
        working(redis_url, simulator, tmp_path, extra=missing) as worker,
        calling(redis_url) as caller,
    ):
        job_id = caller.send({"prompt": "?"})
        assert worker.process.wait(40) == 2
        assert value in worker.text()
        assert "Traceback" not in worker.text()
        assert result_of(caller.redis, job_id) is None


def test_ended_before_it_was_ready(simulator: RunningSimulator, tmp_path: Path) -> None:
    """SIGTERM ends a worker that still waits for its Redis to appear."""
    url = "redis://127.0.0.1:19/0"
    with working(url, simulator, tmp_path) as worker:
        until(lambda: "Connection refused" in worker.text(), 40)
        worker.process.terminate()
        worker.process.wait(15)
        assert "Traceback" not in worker.text()
