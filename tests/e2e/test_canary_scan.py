"""A whole stack with a canary in all that is someone's own: nobody else gets to read one."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
import psutil
import pytest
from celery import Celery
from redis import Redis

from producer.gateway.access import Scope, add_key, describe_key, new_secret
from tests.e2e.test_canary import captured_events, noise
from tests.e2e.test_up import Up, running_up
from tests.support.flower import TABLE, Running
from tests.support.pictures import picture
from tests.support.waiting import until
from tests.support.warm_command import warm_visionq
from tests.support.webhook_receiver import Receiver, receiving
from visionq import Client, names
from visionq.cli.record import read_record
from visionq.webhooks import set_webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(300)

#: Part of each canary, as it is and at each place in base64.
MARKS: Final = (b"canary", b"Y2FuYXJ5", b"NhbmFyeS", b"jYW5hcn")
#: Secrets of the operator, and the one role whose environment may hold each.
SECRETS: Final = {
    "PROXYAPI_API_KEY": ("sk-canary-key-5d21", "worker"),
    "VISIONQ_HOST_HEADERS": ('{"cdn.example.org": {"X-Token": "canary-host"}}', "worker"),
    "VISIONQ_ALERT_URL": ("http://127.0.0.1:9/?canary-alert-token", "worker"),
    "VISIONQ_ALERT_SECRET": (base64.b64encode(b"canary-alert-secret-of-24").decode(), "worker"),
    "VISIONQ_GATEWAY_KEY": ("canary-key-of-the-gateway", "gateway"),
    "VISIONQ_FLOWER_PASSWORD": ("canary-flower", "flower"),
    "SOMEBODYS_TOKEN": ("canary-token", None),
}
SCHEMA: Final = {
    "type": "object",
    "properties": {"canary_field": {"enum": ["canary-choice"]}},
    "required": ["canary_field"],
    "additionalProperties": False,
}
#: Of no canary: these may be read by all.
TENANT: Final = "shop"
PAGE: Final = b"<html><title>canary-page</title><body>canary-page</body></html>"


@dataclass
class Provider:
    """A provider that quotes what it was asked in all that it says; also a server of pictures."""

    url: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, text: str) -> tuple[int, bytes]:
        """Answer as the prompt says it shall be."""
        self.asked.append(text)
        mode = text.partition("mode=")[2].partition(" ")[0]
        quoted = f"canary-error: can't take {text[:3000]}"
        if mode == "limited" and self.asked.count(text) > 1:
            mode = "ok"
        replies: dict[str, tuple[int, bytes | dict[str, Any]]] = {
            "ok": (200, answered("canary-answer {not JSON")),
            "schema": (200, answered("canary-answer {not JSON")),
            "refusal": (200, answered("canary-refusal", kind="refusal")),
            "page": (502, PAGE),
            "detail": (400, {"detail": quoted}),
            "limited": (429, {"detail": "canary-limit: Rate limit exceeded"}),
            "picture": (400, {"error": {"message": quoted, "code": "invalid_image"}}),
        }
        other = {"message": quoted, "code": "canary_code", "param": "canary-param"}
        status, body = replies.get(mode, (400, {"error": other}))
        return status, body if isinstance(body, bytes) else json.dumps(body).encode()


def answered(text: str, kind: str = "output_text") -> bytes:
    part = {"type": kind, "text": text, "refusal": text}
    output = [{"type": "message", "role": "assistant", "content": [part]}]
    usage = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
    body = {"id": "r", "object": "response", "status": "completed", "model": "gpt-6-luna"}
    return json.dumps({**body, "output": output, "usage": usage}).encode()


@contextmanager
def serving() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            self._send(*provider.answer(body))

        def do_GET(self) -> None:
            # A picture that is asked for, or what `doctor` asks.
            told = b"canary-nothing here" if self.path.startswith("/a.png") else b"nothing here"
            self._send(404, told)

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            kind = "text/html" if body is PAGE else "application/json"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()


def documents(provider: Provider) -> list[dict[str, Any]]:
    """Return jobs that end in every way, each with canaries in all that is the caller's."""
    host = provider.url.removeprefix("http://")
    signed = f"http://{host}/a.png?X-Signature=canary-signature#canary-fragment"
    modes = ("ok", "schema", "refusal", "detail", "limited", "picture", "rejected", "page")
    own = {
        "instructions": "canary-instructions",
        "metadata": {"canary-name-of-metadata": "canary-metadata"},
        "extra_body": {"user": "canary-extra"},
        "tenant": TENANT,
        "on_unknown_billing": "hold",
    }
    asked = [
        {
            **own,
            "prompt": f"canary-prompt mode={mode} {number}",
            "images": [("canary-picture.png", noise(number))],
            **({"answer_schema": SCHEMA} if mode == "schema" else {}),
        }
        for number, mode in enumerate(modes)
    ]
    broken: list[Any] = [("canary-picture.png", noise(90)[:-40])]
    broken += [("canary-picture.png", b"canary-no-picture"), signed]
    broken += [f"http://canary-user:canary-password@{host}/a.png"]
    asked += [{**own, "prompt": "canary-prompt", "images": [image]} for image in broken]
    passed = {"url_mode": "pass", "prompt": "canary-prompt mode=picture", "images": [signed]}
    return [*asked, {**own, **passed}]


def plain_calls(app: Celery) -> int:
    """Send what plain callers send, mostly wrong; return how many of it become jobs."""
    image = {"url": f"data:image/png;base64,{base64.b64encode(noise(95)).decode()}"}
    right = {"prompt": "canary-prompt mode=rejected", "images": [image], "tenant": TENANT}
    wrong: list[dict[str, Any]] = [
        {"prompt": ["canary-prompt"]},
        {"canary-field": "canary-value"},
        {"metadata": {"canary-name": 7}},
        {"metadata": {"canary-name": "canary-\ud83d"}},
        {"extra_body": {"model": "canary-model"}},
        {"answer_schema": {"type": "canary-\ud83d"}},
        {"images": [{"url": "data:image/png;base64,canary-\ud83d"}]},
        {"images": [{"canary-reference": "canary-address"}]},
        {"model": "canary model", "tenant": "canary tenant"},
        {"batch_id": "canary batch"},
        {"temperature": "canary-temperature"},
    ]
    app.send_task("visionq.analyze", kwargs=right, queue=names.QUEUE_INTAKE)
    for fields in wrong:
        app.send_task("visionq.analyze", kwargs=right | fields, queue=names.QUEUE_INTAKE)
    app.send_task("visionq.analyze", args=["canary-prompt"], queue=names.QUEUE_INTAKE)
    app.send_task("visionq.analyse", kwargs=right, queue=names.QUEUE_INTAKE)
    app.send_task("visionq.run", kwargs=right, queue=names.QUEUE_INTAKE)
    return 1


class Listener:
    """What anybody could hear who is beside the broker: hints and events, as they were sent."""

    def __init__(self, redis_url: str) -> None:
        self.heard: list[bytes] = []
        self._redis = Redis.from_url(redis_url)
        self._ended = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with suppress(Exception), self._redis.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py's
            while not self._ended:
                command = str(monitor.next_command()["command"]).encode()
                # What a plain caller sends lies in the queue as it was sent.
                is_hint = command.startswith(b"LPUSH visionq.") and b"intake" not in command
                if b"celeryev" in command or is_hint:
                    self.heard.append(command)

    def __enter__(self) -> list[bytes]:
        return self.heard

    def __exit__(self, *_: object) -> None:
        self._ended = True


def test_nobody_reads_what_is_not_theirs(tmp_path: Path) -> None:
    """No page, event, hint, log, metric, list or process shows a canary, but where it belongs."""
    with ExitStack() as stack:
        provider = stack.enter_context(serving())
        receiver = stack.enter_context(receiving())
        receiver.next_statuses.extend([503, 204])
        up = stack.enter_context(stack_of(tmp_path, provider))
        redis = stack.enter_context(Redis.from_url(up.line["redis_url"]))
        address = f"{receiver.url}?canary-webhook-token"
        webhook, _ = set_webhook(redis, TENANT, address)
        made = [redis_password(up), *(secret.value for secret in webhook.secrets)]
        heard = stack.enter_context(Listener(up.line["redis_url"]))
        events = stack.enter_context(captured_events(up.line["redis_url"]))
        sinks = {"gateway, as another tenant": ask_all(up, redis, provider, receiver)}
        flower = Running(up.port("flower_url"), 0, up.line["redis_url"], Path())
        sinks |= pages_of(up, flower)
        sinks |= told_by_commands(up)
        sinks |= seen_on_the_machine(up)
        sinks["broker"] = b"\n".join(heard)
        sinks["events"] = repr(events).encode()
        sinks["streams"] = repr([redis.xrange(names.EVENTS), redis.xrange(names.NOTICES)]).encode()
        sinks["webhooks"] = repr(receiver.received).encode()
        holders = holders_of(up)
    sinks |= files_of(tmp_path / "data")

    leaks = {
        name: [content[max(0, at - 60) : at + 60] for at in [content.find(mark)]]
        for name, content in sinks.items()
        for mark in (*MARKS, *(secret.encode() for secret in made), noise(0)[200:216])
        if mark in content
    }
    assert leaks == {}
    assert {name for name, content in sinks.items() if not content} == set()
    for word in (b"visionq.run", b"visionq.deliver", b"task-failed"):
        assert word in sinks["broker"] + sinks["events"], word
    said = set(re.findall(rb'"exception": "([^"]*)"', sinks["Flower's pages"]))
    assert said >= {b"request_rejected", b"invalid_job: metadata", b"corrupt_image: picture 1"}
    assert holders == {name: {owner} - {None} for name, (_, owner) in SECRETS.items()}


@contextmanager
def stack_of(folder: Path, provider: Provider) -> Iterator[Up]:
    secrets = {name: secret for name, (secret, _) in SECRETS.items()}
    with running_up(
        folder,
        *("--data-dir", str(folder / "data")),
        PROXYAPI_BASE_URL=f"{provider.url}/v1",
        VISIONQ_ALLOW_PRIVATE_URLS="1",
        VISIONQ_LOG_LEVEL="DEBUG",
        **secrets,
    ) as up:
        yield up


def ask_all(up: Up, redis: Redis, provider: Provider, receiver: Receiver) -> bytes:
    """Have every job asked, by SDK, plain Celery and gateway; return what another tenant sees."""
    url = up.line["redis_url"]
    asked = documents(provider)
    with Client(redis_url=url) as client, Celery(broker=url, backend=url) as app:
        for document in asked:
            client.submit(**document, idempotency_key=f"canary-{document['prompt']}-{id(document)}")
        jobs = len(asked) + plain_calls(app)
        seen, job_id = through_the_gateway(up, redis)
        jobs += 1
        until(lambda: settled(redis) >= jobs, 120, lambda: f"{redis.hgetall(names.COUNTS)!r}")
        until(lambda: len(receiver.received) > len(asked) // 2, 60, lambda: repr(receiver.types()))
        until(lambda: not redis.exists(names.QUEUE_INTAKE), 60, "plain calls to be taken")
    return seen + as_another_tenant(up, redis, job_id)


def settled(redis: Redis) -> int:
    counts: dict[bytes, bytes] = redis.hgetall(names.COUNTS)  # type: ignore[assignment]
    return sum(int(counts.get(state, 0)) for state in (b"completed", b"failed", b"parked"))


def through_the_gateway(up: Up, redis: Redis) -> tuple[bytes, str]:
    """Hand a job in by HTTP; return the reply to a stranger without a key, and the job's id."""
    key = new_secret()
    add_key(redis, key, describe_key(key, TENANT, "canary", Scope))
    with httpx2.Client(base_url=up.line["gateway_url"]) as http:
        url = f"data:image/png;base64,{base64.b64encode(picture(7)).decode()}"
        body = {"prompt": "canary-prompt mode=ok gateway", "images": [{"url": url}]}
        told = http.post("/v1/jobs", json=body, headers={"authorization": f"Bearer {key}"})
        assert told.status_code == 202, told.text
        job_id = told.json()["id"]
        closed = [http.get(f"/v1/jobs/{job_id}"), http.get("/v1/files"), http.get("/openapi.json")]
    return b"\n".join(one.content for one in closed), job_id


def as_another_tenant(up: Up, redis: Redis, job_id: str) -> bytes:
    key = new_secret()
    add_key(redis, key, describe_key(key, "other", "other", Scope))
    ids: list[bytes] = list(redis.scan_iter(names.JOB + "*"))
    paths = [f"/v1/jobs/{one.decode().removeprefix(names.JOB)}" for one in ids]
    paths += [f"/v1/jobs/{job_id}/result", f"/v1/jobs/{job_id}/events", f"/v1/responses/{job_id}"]
    paths += ["/v1/jobs", "/v1/batches", "/v1/files"]
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=up.line["gateway_url"], headers=headers) as http:
        assert len(ids) > 10
        return b"\n".join(http.get(path).content for path in paths)


def pages_of(up: Up, flower: Running) -> dict[str, bytes]:
    """Return all that Flower and the exporter show to a visitor."""
    read = dict.fromkeys(("/", "/workers?json=1", "/tasks", TABLE, "/broker", "/metrics"), b"")
    user = (up.line["flower_user"], up.line["flower_password"])
    data = json.loads(flower.get("/workers?json=1", *user)[1])["data"]
    paths = [*read, "/api/tasks", "/api/workers?refresh=1"]
    paths += [f"/worker/{row['hostname']}" for row in data]
    for row in json.loads(flower.get(TABLE, *user)[1])["data"]:
        paths += [f"/task/{row['uuid']}", f"/api/task/info/{row['uuid']}"]
    pages = [flower.get(path, *user) for path in paths]
    assert "Unable to get stats" not in "".join(text for _, text in pages)
    metrics = httpx2.get(up.line["metrics_url"]).content
    shown = "\n".join(text for _, text in pages).replace(up.line["flower_user"], "")
    return {"Flower's pages": shown.encode(), "metrics": metrics}


def told_by_commands(up: Up) -> dict[str, bytes]:
    """Return what an operator's lists say; `jobs` reads the ledger itself."""
    told = {}
    for command in ("status", "dead-letters list", "gate status", "doctor"):
        done = subprocess.run(  # our own command
            [warm_visionq(), *command.split(), "--json"],
            env={**up.environment, "PROXYAPI_API_KEY": "", "PROXYAPI_BASE_URL": ""},
            capture_output=True,
            timeout=60,
            check=False,
        )
        told[f"visionq {command}"] = done.stdout + done.stderr
    return told


def seen_on_the_machine(up: Up) -> dict[str, bytes]:
    """Return what anybody on the machine sees of the processes."""
    lines = [" ".join(psutil.Process(pid).cmdline()) for pid in pids_of(up)]
    return {"process list": "\n".join(lines).encode()}


def pids_of(up: Up) -> list[int]:
    record = read_record(up.environment)
    assert record is not None
    return [pid for pids in (record.pids or {}).values() for pid in pids]


def holders_of(up: Up) -> dict[str, set[str]]:
    """Return the roles whose environment holds each secret of the operator's."""
    told = {role: psutil.Process(up.pid(role)).environ() for role in up.line["pids"]}
    return {
        name: {role for role, environment in told.items() if secret in environment.values()}
        for name, (secret, _) in SECRETS.items()
    }


def files_of(data: Path) -> dict[str, bytes]:
    """Return the stack's files but for Redis's own: those are the ledger."""
    found = [*data.glob("*.log"), *data.glob("visionq-flower*")]
    assert {path.stem for path in found} >= {"worker-1", "flower", "gateway", "exporter", "redis"}
    return {path.name: path.read_bytes() or b"(empty)" for path in found}


def redis_password(up: Up) -> str:
    return str(up.line["redis_url"]).partition("default:")[2].partition("@")[0]
