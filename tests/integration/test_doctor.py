"""`visionq doctor` over real servers: well, faulty, silent, encrypted, and out of reach."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import pytest
from celery import Celery

from tests.support.ledger import BULK, new_job
from tests.support.redis_servers import started
from tests.support.warm_processes import running_simulator
from visionq import Client, cli
from visionq.cli.doctor.findings import Finding, Level
from visionq.cli.doctor.provider_checks import ask_provider
from visionq.cli.doctor.table_checks import listed_finding
from visionq.cli.provider_account import Provider
from visionq.cli.record import StackRecord, write_record
from visionq.contract import Api
from visionq.devstack.redis_server import running_redis
from visionq.ledger import Ledger, Registration
from visionq.ledger.provider_batches import BatchSupport, write_support
from visionq.names import (
    DISPATCHER,
    HINT_QUEUES,
    NOTICES,
    PROVIDER_BATCH,
    PROVIDER_BATCHES,
    PROVIDER_FILES_LEFT,
    WORKERS,
)
from visionq.redis_connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from visionq.devstack.simulator.process import RunningSimulator

KEY: Final = "sk-canary-4711"
#: A server as the docs want it.
WELL: Final = {"appendonly": "yes", "maxmemory": "100mb", "hash-max-ziplist-value": "1024"}
#: A confirmed table of the day, and a model whose end nobody has announced.
MODEL: Final = "gpt-5.4-mini"

Doctor = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture
def doctor(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    simulator: RunningSimulator,
    tmp_path: Path,
) -> Doctor:
    """Run `doctor --json` against an address; gives the exit code and the findings by name."""
    prices = tmp_path / "prices.toml"
    prices.write_text(
        f'batch_factor = "0.5"\n[[price]]\nmodel = "{MODEL}"\ninput = "1"\noutput = "2"\n'
        f'source = "the list"\ndate = {time.strftime("%Y-%m-%d")}\nconfirmed = true\n'
    )
    simulator.configure(balance_rub="1000", balance_readable=True)
    monkeypatch.setenv("VISIONQ_PRICES_FILE", str(prices))
    monkeypatch.setenv("VISIONQ_DEFAULT_MODEL", MODEL)
    monkeypatch.setenv("PROXYAPI_BASE_URL", simulator.provider_url)
    monkeypatch.setenv("PROXYAPI_API_KEY", KEY)

    def examine(url: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
        monkeypatch.setenv("VISIONQ_REDIS_URL", url)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        code = cli.run(["doctor", "--json"])
        out, err = capsys.readouterr()
        assert err == ""
        assert KEY not in out
        return code, {one["check"]: one for one in json.loads(out)["findings"]}

    return examine


def live(url: str, *, dispatching: bool = True, queues: tuple[str, ...] = HINT_QUEUES) -> None:
    """Register a worker that has just dispatched."""
    with connect(url, "tests") as redis:
        ledger = Ledger(redis)
        ledger.renew(Registration("w1", 8, queues, {"host": "box", "pid": 7}))
        if dispatching:
            ledger.dispatch()


def test_all_is_well(doctor: Doctor, tmp_path: Path) -> None:
    """With all as the docs say, everything is well and the exit code 0."""
    with started(tmp_path / "redis", WELL) as url:
        live(url)
        code, found = doctor(url)
    assert {name: one for name, one in found.items() if one["level"] != "ok"} == {}
    assert code == 0
    assert found["provider.balance"]["details"] == {"balance_rub": "1000"}
    assert found["workers.alive"]["details"]["slots"] == 8
    assert found["redis.persistence"]["details"] == {"aof": True, "appendfsync": "everysec"}
    assert 0 < found["redis.latency"]["details"]["seconds"] < 0.02


def test_for_people(doctor: Doctor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People read what is wrong with an arrow to what to do, and the sum."""
    with started(tmp_path / "redis", WELL | {"appendonly": "no"}) as url:
        doctor(url)
        assert cli.run(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "→ set `appendonly yes`" in " ".join(text.split())
    assert "1 problem" in text.splitlines()[-1]


@pytest.mark.parametrize("release", ["7", "6.2"])
def test_a_managed_server(doctor: Doctor, tmp_path: Path, release: str) -> None:
    """With CONFIG, INFO and MEMORY renamed away nothing is a problem, and jobs are still taken."""
    folder = tmp_path / "redis"
    folder.mkdir()
    names = "".join(f'rename-command {name} ""\n' for name in ("CONFIG", "INFO", "MEMORY"))
    (folder / "managed.conf").write_text(names)
    with started(folder, WELL | {"include": str(folder / "managed.conf")}, release) as url:
        with Client(redis_url=url) as client:
            client.cancel(client.submit(prompt="Что?", images=[b"\x89PNG"]))
        live(url)
        code, found = doctor(url)
    levels = {name: one["level"] for name, one in found.items() if one["level"] != "ok"}
    assert levels == dict.fromkeys(
        ("redis.eviction", "redis.persistence", "redis.memory", "redis.packing"), "not_known"
    )
    assert all("provider" in found[name]["advice"] for name in levels)
    assert code == 0


def test_a_user_with_few_rights(doctor: Doctor, tmp_path: Path) -> None:
    """A user who may do next to nothing gets findings that are not known, and no traceback."""
    folder = tmp_path / "redis"
    folder.mkdir()
    (folder / "users.acl").write_text(
        "user default off\nuser some on >one ~visionq:job:* -@all +ping +client|setname +get\n"
    )
    with started(folder, {"aclfile": str(folder / "users.acl")}, login="some:one@") as url:
        code, found = doctor(url)
    assert code == 0
    assert found["redis.reachable"]["level"] == "ok"
    assert found["redis.version"]["level"] == "ok"  # reported by HELLO
    assert found["workers.alive"]["level"] == "not_known"
    assert "may read" in found["workers.alive"]["advice"]


def test_over_tls(doctor: Doctor, tls_url: str) -> None:
    """Over TLS the same is found, and that it is TLS."""
    code, found = doctor(tls_url)
    assert code in {0, 1}
    assert found["redis.tls"]["details"] == {"tls": True}
    assert found["redis.role"]["level"] == "ok"


def test_a_replica(doctor: Doctor, tmp_path: Path) -> None:
    """A replica is a problem, for it takes no jobs."""
    with started(tmp_path / "redis", WELL | {"replicaof": "127.0.0.1 1"}) as url:
        code, found = doctor(url)
    assert (code, found["redis.role"]["level"]) == (1, "problem")


def test_a_full_server(doctor: Doctor, tmp_path: Path) -> None:
    """Beyond 85 % of its memory a server takes no jobs, and doctor says so."""
    with started(tmp_path / "redis", WELL | {"maxmemory": "20mb"}) as url:
        with connect(url, "tests") as redis:
            for number in range(18):
                redis.set(f"ballast:{number}", b"x" * 950_000)
        code, found = doctor(url)
    assert (code, found["redis.memory"]["level"]) == (1, "problem")


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0",
        "unix:///nowhere/redis.sock",
    ],
)
def test_out_of_reach(doctor: Doctor, url: str) -> None:
    """Without Redis the rest is still looked at, and the exit code is 3."""
    code, found = doctor(url)
    assert (code, found["redis.reachable"]["level"]) == (3, "problem")
    assert found["provider.key"]["level"] == "ok"


def test_no_stack(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a Redis or a stack, doctor says how to start one."""
    doctor("redis://127.0.0.1:1/0")
    monkeypatch.delenv("VISIONQ_REDIS_URL")
    assert cli.run(["doctor", "--json"]) == 3
    first = json.loads(capsys.readouterr().out)["findings"][0]
    assert "visionq up" in first["advice"]


def test_the_redis_of_a_stack(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is asked of the Redis that `up` starts; the same server of one's own gets."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with running_redis(tmp_path / "redis") as redis:
        live(redis.url)
        _, found = doctor(redis.url)
        assert found["redis.memory"]["level"] == "warning"
        write_record(StackRecord(os.getpid(), redis.url, "http://127.0.0.1:8/openai/v1"))
        _, found = doctor(redis.url)
    assert {one["level"] for name, one in found.items() if name.startswith("redis.")} == {"ok"}
    assert "this machine's memory" in found["redis.memory"]["message"]
    assert found["redis.memory"]["details"]["host_bytes"] > 100_000_000


def test_a_wrong_password(doctor: Doctor, tmp_path: Path) -> None:
    """Refused credentials are reported as such, and the password is not shown."""
    options = WELL | {"requirepass": "right"}
    with started(tmp_path / "redis", options, login=":right@") as url:
        code, found = doctor(url.replace("right", "wrong-one"))
    assert code == 3
    assert "credentials" in found["redis.reachable"]["message"]
    assert "wrong-one" not in json.dumps(found)


def test_workers(doctor: Doctor, tmp_path: Path) -> None:
    """Missing workers, unserved queues, vanished workers and a lost dispatcher are found."""
    with started(tmp_path / "redis", WELL) as url, connect(url, "tests") as redis:
        assert doctor(url)[1]["workers.alive"]["level"] == "warning"
        Ledger(redis).submit([new_job()])
        code, found = doctor(url)
        assert (code, found["workers.alive"]["level"]) == (1, "problem")
        live(url, dispatching=False, queues=BULK)
        found = doctor(url)[1]
        assert found["workers.alive"]["level"] == "ok"
        assert found["workers.queues"]["details"] == {"queue": "visionq.interactive"}
        assert found["workers.dispatcher"]["level"] == "problem"
        redis.hset(DISPATCHER, "seen", round((time.time() - 60) * 1000))
        assert "for 60 s" in doctor(url)[1]["workers.dispatcher"]["message"]
        redis.zadd(WORKERS, {"w1": 1})
        found = doctor(url)[1]
        assert "worker 7 on box" in found["workers.vanished"]["message"]
        assert found["workers.alive"]["level"] == "problem"


@contextmanager
def joined(url: str, node: str) -> Iterator[None]:
    """Have a node reached by Celery's remote control for a while, as its worker does."""
    app: Any = Celery(broker=url, set_as_current=False)
    with app.connection_for_read() as connection:
        app.control.mailbox.get_queue(node)(connection.default_channel).declare()
        yield


def test_another_celery_program(doctor: Doctor, tmp_path: Path) -> None:
    """A node of another Celery program in the same database is named; nodes of visionq are not."""
    with started(tmp_path / "redis", WELL) as url, joined(url, "visionq-worker-1@box"):
        assert "celery.neighbours" not in doctor(url)[1]
        with joined(url, "celery@shop"):
            found = doctor(url)[1]["celery.neighbours"]
            taken = doctor(url, VISIONQ_CONSUME_DEFAULT_QUEUE="1")[1]["celery.neighbours"]
        assert (found["level"], found["details"]) == ("warning", {"nodes": 1})
        assert "celery@shop" in found["message"]
        assert "both take the queue" not in found["message"]
        assert "both take the queue 'celery'" in taken["message"]


def test_a_separate_broker(doctor: Doctor, tmp_path: Path, redis_url: str) -> None:
    """A broker of its own is asked too; without it no job reaches a worker."""
    with started(tmp_path / "redis", WELL) as url:
        assert "broker.reachable" not in doctor(url, VISIONQ_BROKER_URL=url)[1]
        assert doctor(url, VISIONQ_BROKER_URL=redis_url)[1]["broker.reachable"]["level"] == "ok"
        for broker in ("redis://127.0.0.1:1/0", "amqp://user:pw@127.0.0.1:1//"):
            code, found = doctor(url, VISIONQ_BROKER_URL=broker)
            assert (code, found["broker.reachable"]["level"]) == (1, "problem")
            assert "pw" not in found["broker.reachable"]["message"]


@pytest.mark.parametrize(
    ("settings", "level", "words"),
    [
        ({"balance_rub": "99.5"}, Level.WARNING, "99.5 ₽ left"),
        ({"balance_rub": "0"}, Level.PROBLEM, "no call can be made"),
        ({"balance_readable": False}, Level.NOT_KNOWN, "can't be read"),
    ],
)
def test_the_balance(
    simulator: RunningSimulator, settings: dict[str, Any], level: Level, words: str
) -> None:
    """A low balance is reported, an empty one is a problem, an unreadable one is never zero."""
    simulator.configure(**{"balance_rub": "1000", "balance_readable": True} | settings)
    found = provider(Provider(simulator.provider_url, KEY))["provider.balance"]
    assert found.level is level
    assert words in found.message


def test_a_model_that_is_not_offered(simulator: RunningSimulator) -> None:
    """A configured model that the provider does not list is reported."""
    listed = ask_provider(Provider(simulator.provider_url, None))[1]
    assert listed is not None
    found = listed_finding("gpt-6-lunar", listed, date(2026, 12, 1))
    assert (found.check, found.level) == ("provider.model", Level.WARNING)
    assert found.message == (
        "the provider does not list gpt-6-lunar; the nearest model that it lists is gpt-6-luna"
    )
    assert listed_finding("openai/gpt-6-luna", listed, date(2026, 12, 1)).level is Level.OK
    unheard = listed_finding("mistral/large", listed, date(2026, 12, 1))
    assert "lists no model of mistral/" in unheard.message


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (401, Level.PROBLEM, "not accepted: said so"),
        (402, Level.PROBLEM, "used up"),
        (403, Level.PROBLEM, "may not list models"),
        (404, Level.PROBLEM, "no list of models"),
        (302, Level.NOT_KNOWN, "answered 302"),
        (503, Level.NOT_KNOWN, "answered 503: said so"),
    ],
)
def test_what_a_provider_answers(status: int, level: Level, words: str) -> None:
    """Each refusal has its meaning; a redirect is not followed, for it would take the key along."""
    with answering(status) as (url, requests):
        found = provider(Provider(url, KEY))
    assert list(found) == ["provider.key"]
    assert found["provider.key"].level is level
    assert words in found["provider.key"].message
    assert requests == ["/openai/v1/models"]


def test_a_provider_that_does_not_answer() -> None:
    """A provider out of reach is a problem."""
    found = provider(Provider("http://127.0.0.1:1/openai/v1", KEY))["provider.key"]
    assert found.level is Level.PROBLEM
    assert "can't be reached" in found.message


def test_a_proxy_does_not_hear_of_what_is_local(
    monkeypatch: pytest.MonkeyPatch, simulator: RunningSimulator
) -> None:
    """Services on this machine are asked directly, with any proxy in the environment."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert provider(Provider(simulator.provider_url, KEY))["provider.key"].level is Level.OK


def provider(of: Provider) -> dict[str, Finding]:
    return {one.check: one for one in ask_provider(of)[0]}


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[str]]]:
    """A provider that gives every request the same answer; and the paths that were asked for."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            body = b'{"detail": "said so"}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/openai/v1", requests
        finally:
            server.shutdown()
            thread.join()


def test_what_batches_have_shown_is_told(doctor: Doctor, tmp_path: Path) -> None:
    """The verdict on a model's batches is kept, and named with how long they took."""
    with started(tmp_path / "redis", WELL) as url:
        live(url)
        with connect(url, "tests") as redis:
            known = BatchSupport(works=True, took=(600.0, 5400.0))
            write_support(redis, "key", MODEL, Api.RESPONSES, known)
        _, found = doctor(url)
        assert found["batches.verdict"]["level"] == "ok"
        assert found["batches.verdict"]["message"].endswith("the last 2 took 10 to 90 minutes")
        with connect(url, "tests") as redis:
            refused = BatchSupport(works=False, reason="no pictures")
            write_support(redis, "key", MODEL, Api.RESPONSES, refused)
        _, found = doctor(url)
    assert found["batches.verdict"]["level"] == "warning"
    assert "(no pictures): it goes online" in found["batches.verdict"]["message"]


def test_what_is_left_at_the_provider_is_told(doctor: Doctor, tmp_path: Path) -> None:
    """Batches that are out too long, files that are left, and unknown batches are named."""
    with started(tmp_path / "redis", WELL) as url:
        live(url)
        with connect(url, "tests") as redis:
            redis.zadd(PROVIDER_FILES_LEFT, {"key file-1": 1, "key file-2": 2})
            redis.xadd(NOTICES, {"subject": "provider-batch:batch_7", "state": "stray"})
            long_ago = time.time() - 90_000
            state = {"state": "out", "lines": 3, "begun": long_ago, "created": long_ago}
            redis.hset(f"{PROVIDER_BATCH}b1", mapping=state)
            redis.zadd(PROVIDER_BATCHES, {"b1": 1})
        _, found = doctor(url)
    assert found["batches.overdue"]["message"].endswith(
        "out for longer than the provider takes: b1"
    )
    assert found["batches.files"]["details"] == {"files": 2}
    assert found["batches.unknown"]["message"].endswith("at the provider that nobody knew: batch_7")
