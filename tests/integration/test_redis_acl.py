"""The ACL files in `docs/`: each user can do its work, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from redis.exceptions import NoPermissionError, ResponseError

from producer.quote.model_facts import LearnedStatistics
from tests.support.alike import scene
from tests.support.packing import PackerBench
from tests.support.pictures import encoded, picture
from tests.support.redis_servers import RELEASES, started
from tests.support.waiting import until
from tests.support.warm_command import warm_visionq
from tests.support.warm_processes import WarmProcess, running_simulator
from tests.support.webhook_receiver import receiving
from visionq import AsyncClient, Client
from visionq.contract import Api, State
from visionq.errors import JobFailed, QueueUnavailable
from visionq.ledger import Ledger, Registration
from visionq.ledger.overview import overview
from visionq.ledger.provider_batches import BatchSupport, write_support
from visionq.ledger.scripts import load_missing, script_text
from visionq.names import HINT_QUEUES, QUEUE_INTAKE, WORKERS
from visionq.redis_connection import connect
from visionq.webhooks import set_webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visionq.devstack.simulator.process import RunningSimulator

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "docs" / "acl"
PASSWORDS = {"WORKER_PASSWORD": "work", "PRODUCER_PASSWORD": "produce"}
#: What must be closed to a producer, though it is of use to others, or to an attacker.
CLOSED = (
    "FLUSHALL", "FLUSHDB", "CONFIG GET maxmemory", "KEYS *", "SCAN 0", "ACL LIST", "SHUTDOWN",
    "MONITOR", "CLIENT LIST", "EVAL return(1) 0", "SCRIPT LOAD return(1)", "SELECT 1",
    "GET somebody:elses", "SET somebody:elses 1", "PUBLISH somebody:elses 1",
    "HGETALL visionq:webhooks",
    "GET visionq:answer:1", "HGET visionq:money settled", "HINCRBY visionq:money settled 1",
    "HSET visionq:worker:1 slots 9", "ZADD visionq:workers 1 1", "BLPOP visionq:wake 1",
    "HSET visionq:dispatcher seen 1", "HINCRBY visionq:pool-slots visionq.bulk 9",
    "LPUSH visionq.bulk 1", "LPUSH celery 1",
)  # fmt: skip


class Users:
    """A server whose only users are its admin and those of the documents."""

    def __init__(self, url: str) -> None:
        self.admin = connect(url, "tests")
        address = url.partition("@")[2]
        self.worker = f"redis://visionq-worker:work@{address}"
        self.producer = f"redis://visionq-producer:produce@{address}"

    def refused(self) -> list[tuple[str, str]]:
        """Return (user, what was refused), but for the greeting that clients may omit."""
        log: list[dict[str, Any]] = self.admin.acl_log(count=100)
        return [
            (entry["username"], entry["object"]) for entry in log if entry["object"] != "client"
        ]


def is_loaded(admin: Any) -> bool:
    """Return whether submission could run now."""
    texts = [script_text("submit"), script_text("reserve"), script_text("register")]
    return all(admin.script_exists(*(admin.register_script(text).sha for text in texts)))


def rules() -> str:
    text = "".join(file.read_text() for file in sorted(DOCUMENTS.glob("*.acl")))
    for placeholder, password in PASSWORDS.items():
        assert f">{placeholder} " in text
        text = text.replace(placeholder, password)
    return f"user default on >admin ~* &* +@all\n{text}"


@pytest.fixture(params=RELEASES)
def users(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Users]:
    folder = tmp_path / "redis"
    folder.mkdir()
    (folder / "users.acl").write_text(rules())
    options = {"aclfile": str(folder / "users.acl")}
    with started(folder, options, request.param, "default:admin@") as url:
        found = Users(url)
        with found.admin:
            yield found


@contextmanager
def running_worker(users: Users, simulator: RunningSimulator, log: Path) -> Iterator[None]:
    environment = {
        **os.environ,
        "VISIONQ_REDIS_URL": users.worker,
        "PROXYAPI_BASE_URL": simulator.provider_url,
        "VISIONQ_ALLOW_PRIVATE_URLS": "1",
    }
    worker = WarmProcess(["worker", "--concurrency", "4"], environment, log)
    try:
        until(lambda: users.admin.zcard(WORKERS) == 1, 60, "the worker to register")
        yield
    finally:
        worker.terminate()
        assert worker.wait(20) == 0, log.read_text()


def test_both_do_their_work(users: Users, tmp_path: Path) -> None:
    """A worker answers, retries, parks, cancels and serves Celery's callers; nothing is refused."""
    with (
        running_simulator() as simulator,
        receiving() as receiver,
        running_worker(users, simulator, tmp_path / "log"),
        Client(redis_url=users.producer) as client,
    ):
        set_webhook(users.admin, "default", receiver.url)
        job = client.submit(prompt="Что?", images=[picture(1)], idempotency_key="one")
        assert "64x48" in client.wait(job, timeout=30).text
        saving = client.submit(
            prompt="Что?", images=[encoded(scene(1), "PNG")], near=4, together=True
        )
        assert client.wait(saving, timeout=30).text
        simulator.configure(faults_next=["503"])
        retried = client.submit(prompt="Что?", images=[picture(2)])
        assert client.wait(retried, timeout=30).attempts == 2
        simulator.configure(balance_rub=0)
        parked = client.submit(prompt="Что?", images=[picture(3)])
        until(lambda: client.get(parked).state is State.PARKED, 20, "the job to park")
        assert client.cancel(parked).state is State.CANCELLED
        simulator.configure(balance_rub=1000)
        simulator.configure(latency_s=2)
        users.admin.script_flush()  # as by a restart
        until(lambda: is_loaded(users.admin), 20, "the worker to load its scripts again")
        running = client.submit(prompt="Что?", images=[picture(4)])
        until(lambda: client.get(running).state is State.IN_PROGRESS, 20, "the job to run")
        assert client.cancel(running).state is State.CANCELLED
        simulator.configure(latency_s=0)
        with Celery(broker=users.worker, backend=users.worker) as app:
            fields = {"prompt": "Что?", "images": [{"url": "data:image/png;base64,eA=="}]}
            with pytest.raises(Exception, match="not_an_image"):
                app.send_task("visionq.analyze", kwargs=fields, queue=QUEUE_INTAKE).get(timeout=20)
            with pytest.raises(Exception, match="invalid_job"):
                app.send_task("visionq.analyze", kwargs={"prompt": "Что?"}, queue=QUEUE_INTAKE).get(
                    timeout=20
                )
            assert app.control.ping(timeout=3)
        until(lambda: len(receiver.received) == 6, 20, lambda: str(receiver.types()))
    assert users.refused() == []


async def test_the_asyncio_client(users: Users) -> None:
    """A producer submits, waits over pub/sub, and cancels, with asyncio too."""
    load_missing(users.admin)
    async with AsyncClient(redis_url=users.producer) as client:
        jobs = [await client.submit(prompt="Что?", images=[picture(number)]) for number in (1, 2)]
        waits = [asyncio.create_task(client.wait(job, timeout=10)) for job in jobs]
        await asyncio.sleep(0.2)  # the second wakes the listener of the first by its channel
        for job in jobs:
            await client.cancel(job)
        ends = await asyncio.gather(*waits, return_exceptions=True)
    assert [end.code for end in ends if isinstance(end, JobFailed)] == ["cancelled", "cancelled"]
    assert users.refused() == []


def test_a_producer_may_ask_for_the_price(users: Users, tmp_path: Path) -> None:
    """`visionq quote` works as the producer's user, without what that user may not see."""
    load_missing(users.admin)
    (tmp_path / "a.png").write_bytes(picture(1))
    command = [warm_visionq(), "quote", str(tmp_path / "a.png"), "--json", "-p", "Что?"]
    environment = {**os.environ, "VISIONQ_REDIS_URL": users.producer}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["pictures"] == 1


def test_the_batch_lane_needs_no_more(users: Users) -> None:
    """A producer fills the lane, cancels in it and learns of it; a packer is a worker's user."""
    load_missing(users.admin)
    with connect(users.worker, "tests") as theirs, connect(users.producer, "tests") as ours:
        bench = PackerBench(theirs)
        try:
            write_support(theirs, "k1", "gpt-6-luna", Api.RESPONSES, BatchSupport(works=True))
            packer, by = bench.packer(), bench.moment(20 * 3600)
            fields: dict[str, Any] = {"ledger": Ledger(ours, bench.options, bench.clock)}
            waiting, stopped = (bench.submit(lane="auto", by=by, **fields) for _ in range(2))
            answered = bench.submit(lane="batch", **fields)
            fields["ledger"].cancel([stopped])
            packer.run()
            packer.run()
            bench.provider.end("batch_1")
            bench.pass_time(600)
            packer.run()
            states = [bench.view(job).state for job in (waiting, answered, stopped)]
            assert states == [State.COMPLETED, State.COMPLETED, State.CANCELLED]
            seen = LearnedStatistics(ours).batches_seen(["gpt-6-luna"])
            assert len(seen["gpt-6-luna"].took) == 1
        finally:
            bench.close()
    assert users.refused() == []


async def test_a_producer_without_a_worker(users: Users) -> None:
    """A producer without loaded scripts learns why it fails; it goes on once they are loaded."""
    async with AsyncClient(redis_url=users.producer) as client:
        with pytest.raises(QueueUnavailable, match="no worker of this release runs"):
            await client.submit(prompt="Что?", images=[picture(1)])
        with (
            Client(redis_url=users.producer) as other,
            pytest.raises(QueueUnavailable, match="Redis was just restarted"),
        ):
            other.submit(prompt="Что?", images=["https://example.com/a.png"])
        load_missing(users.admin)
        await client.submit(prompt="Что?", images=[picture(1)])


def test_what_is_closed_to_producers(users: Users) -> None:
    """A producer can neither empty, configure or list Redis, nor touch what is not its own."""
    load_missing(users.admin)
    with connect(users.producer, "tests") as redis:
        for line in CLOSED:
            with pytest.raises(NoPermissionError):
                redis.execute_command(*line.split())
        with pytest.raises(ResponseError, match="access"):
            Ledger(redis).renew(Registration("forged", 64, HINT_QUEUES))


def test_the_worker_may_be_looked_at(users: Users) -> None:
    """`visionq status` works as the worker's user, which can't empty or configure Redis either."""
    with connect(users.worker, "tests") as redis:
        assert overview(redis).queued == 0
        for line in ("FLUSHALL", "CONFIG GET maxmemory", "KEYS *", "GET somebody:elses"):
            with pytest.raises(NoPermissionError):
                redis.execute_command(*line.split())


def test_each_user_has_one_line() -> None:
    """Redis does not start with a file that names a user twice."""
    for file in DOCUMENTS.glob("*.acl"):
        assert file.read_text().count("\n") == 1, file.name


def test_every_command_of_the_scripts_is_allowed() -> None:
    """A worker may do all that the ledger's scripts do, also where no test leads."""
    allowed = set(re.findall(r"\+(\S+)", (DOCUMENTS / "worker.acl").read_text()))
    scripts = "".join(file.read_text() for file in (ROOT / "visionq").rglob("*.lua"))
    used = {command.lower() for command in re.findall(r"redis\.p?call\('([A-Z]+)'", scripts)}
    # Which end of a lane is pushed is an argument there.
    used |= {command.lower() for command in re.findall(r"'([LR]PUSH)'", scripts)}
    assert len(used) > 30
    assert used <= allowed


def test_other_databases_are_closed(users: Users) -> None:
    """Without `+select` another database is closed to both, as `docs/redis.md` says."""
    for url in (users.worker, users.producer):
        with connect(url.replace("/0", "/1"), "tests") as redis, pytest.raises(NoPermissionError):
            redis.ping()
