"""One trace from who submits to the provider's call, and errors: without a word of the job."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import SecretStr

from tests.support.fleet import running_fleet
from tests.support.ledger import LedgerDriver, new_job
from tests.support.pictures import picture
from visionq.cache_key import cache_key
from visionq.errors import Refused
from visionq.ledger import NewJob
from visionq.names import JOB
from visionq.sdk.submitting import current_trace
from visionq.settings import ConfigurationError, Settings
from worker.logs import configure_logs, make_reporter, strip
from worker.tracing import Kind, NoTracing, make_tracing
from worker.tracing.opentelemetry import OpenTelemetry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry import trace
    from redis import Redis

CANARY = "canary-question"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def producer_span() -> Iterator[trace.Span]:
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("a producer").start_as_current_span("submit") as span:
        yield span
    provider.shutdown()


def test_a_callers_trace() -> None:
    """A caller in a span is named as a `traceparent`, and one in none is not named."""
    assert current_trace() == ""
    with producer_span() as span:
        context = span.get_span_context()
        flags = f"{int(context.trace_flags):02x}"
        assert current_trace() == f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags}"


def test_opentelemetry_is_no_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without OpenTelemetry is in no trace, and it is not imported for that."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert current_trace() == ""
    assert "opentelemetry.trace" not in sys.modules


def test_the_trace_stands_beside_the_document(redis: Redis) -> None:
    """A trace reaches the worker, and changes neither document nor idempotency nor content key."""
    driver = LedgerDriver(redis)
    job = new_job(idempotency_key="k")
    claim = driver.begin(NewJob(job.id, job.document, TRACE))
    assert claim.trace == TRACE
    assert claim.document == job.document
    assert TRACE not in str(redis.hget(JOB + job.id, "document"))
    (again,) = driver.ledger.submit([NewJob("other", job.document, TRACE.replace("b7", "c7"))])
    assert again.id == job.id
    keys = {cache_key(one, ["a"], shared=False) for one in (job.document, claim.document)}
    assert len(keys) == 1
    assert driver.begin(new_job()).trace == ""


def test_spans_are_children_of_the_trace() -> None:
    """Spans belong to the named trace, one within another; an error is named by its code alone."""
    memory = InMemorySpanExporter()
    tracing = OpenTelemetry(SimpleSpanProcessor(memory))

    def refused() -> None:
        with (
            tracing.span("outer", Kind.CONSUMER, {"visionq.attempt": 1}, TRACE),
            tracing.span("inner", Kind.CLIENT) as note,
        ):
            note({"gen_ai.usage.input_tokens": 7})
            raise Refused(f"the model declined: {CANARY}")

    with pytest.raises(Refused):
        refused()
    inner, outer = memory.get_finished_spans()
    assert outer.parent is not None
    assert f"{outer.context.trace_id:032x}" == TRACE.split("-")[1]
    assert f"{outer.parent.span_id:016x}" == TRACE.split("-")[2]
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert (outer.kind, inner.kind) == (SpanKind.CONSUMER, SpanKind.CLIENT)
    assert dict(inner.attributes or {}) == {
        "gen_ai.usage.input_tokens": 7,
        "error.type": "refused",
    }
    assert inner.status.status_code is StatusCode.ERROR
    assert CANARY not in inner.to_json() + outer.to_json()
    tracing.stop()


def test_nothing_is_sent_unless_asked() -> None:
    """Without an address there is neither tracing nor reporting."""
    assert isinstance(make_tracing(Settings()), NoTracing)
    assert make_reporter(Settings()) is None


@contextmanager
def receiver() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Collect what is posted: (path, body)."""
    posted: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()


def test_a_worker_sends_its_trace(tmp_path: Path) -> None:
    """A real worker sends spans of the job and its call in the caller's trace, without content."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415  # one test's own
        ExportTraceServiceRequest,
    )

    with receiver() as (url, posted):
        extra = {"VISIONQ_TRACES_URL": f"{url}/v1/traces", "PROXYAPI_API_KEY": "sk-canary-5d21"}
        with running_fleet(tmp_path, workers=1, extra=extra) as fleet:
            fleet.simulator.configure(faults_next=["503"])
            with producer_span() as span:
                job = fleet.client.submit(prompt=CANARY, images=[picture(1)])
            result = fleet.client.wait(job, timeout=30)
        context = span.get_span_context()
    spans = []
    for path, body in posted:
        assert path == "/v1/traces"
        for canary in (CANARY.encode(), b"sk-canary", str(result.text).encode(), b"iVBOR"):
            assert canary not in body
        request = ExportTraceServiceRequest.FromString(body)
        spans += [
            one for group in request.resource_spans for s in group.scope_spans for one in s.spans
        ]
    assert {one.trace_id.hex() for one in spans} == {f"{context.trace_id:032x}"}
    jobs = [one for one in spans if one.name == "process visionq"]
    calls = [one for one in spans if one.name.startswith("chat ")]
    assert [one.parent_span_id.hex() for one in jobs] == [f"{context.span_id:016x}"] * 2
    assert {one.parent_span_id for one in calls} == {one.span_id for one in jobs}
    failed, answered = [{a.key: a.value for a in one.attributes} for one in calls]
    assert failed["http.response.status_code"].int_value == 503
    assert failed["error.type"].string_value == "provider_unavailable"
    assert answered["gen_ai.usage.input_tokens"].int_value == result.usage.input_tokens
    assert answered["gen_ai.request.model"].string_value == "gpt-6-luna"
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    assert {name for name in answered if name.startswith("gen_ai.")} <= known


@pytest.fixture
def logs() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    import sentry_sdk  # noqa: PLC0415  # one test's own

    sentry_sdk.get_client().close()
    sentry_sdk.init()


@pytest.mark.usefixtures("logs")
def test_a_logged_exception_is_reported_without_content(capsys: pytest.CaptureFixture[str]) -> None:
    """Sentry gets kind and place of a logged exception, and neither texts nor variables."""
    import gzip  # noqa: PLC0415  # one test's own

    import sentry_sdk  # noqa: PLC0415  # likewise

    with receiver() as (url, posted):
        dsn = SecretStr(url.replace("http://", "http://public@") + "/1")
        configure_logs("json", "INFO", make_reporter(Settings(sentry_dsn=dsn)))
        log = structlog.get_logger("tests")
        prompt = CANARY
        try:
            int(prompt)  # its message quotes it
        except ValueError:
            log.exception("attempt.crashed", prompt=prompt)
        log.warning("no exception", prompt=prompt)
        sentry_sdk.flush(5)
    bodies = [gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body for _, body in posted]
    assert len(bodies) == 1
    assert CANARY.encode() not in bodies[0]
    event = next(
        one
        for one in map(json.loads, bodies[0].splitlines())
        if isinstance(one.get("exception"), dict)
    )
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "ValueError"
    assert exception["stacktrace"]["frames"][-1]["function"].startswith("test_a_logged_exception")
    assert event["tags"] == {"event": "attempt.crashed"}
    assert "attempt.crashed" in capsys.readouterr().err


def test_events_are_stripped_to_what_is_known() -> None:
    """All parts of an event but kinds, places and our own tags are left out."""
    event = {
        "event_id": "1",
        "message": CANARY,
        "request": {"data": CANARY},
        "extra": {"prompt": CANARY},
        "tags": {"event": "x", "prompt": CANARY},
        "exception": {
            "values": [
                {
                    "type": "E",
                    "value": CANARY,
                    "stacktrace": {"frames": [{"function": "f", "vars": {"p": CANARY}}]},
                }
            ]
        },
    }
    assert CANARY not in json.dumps(strip(event))
    assert strip(event)["exception"]["values"][0]["stacktrace"] == {"frames": [{"function": "f"}]}


def test_a_wrong_address_is_told() -> None:
    """A value that is no address of a project ends the start with the variable's name."""
    with pytest.raises(ConfigurationError, match="VISIONQ_SENTRY_DSN"):
        make_reporter(Settings(sentry_dsn=SecretStr("https://nonsense.example")))
