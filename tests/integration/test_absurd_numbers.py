"""Numbers from outside that can't be: no job, no book and no later call suffers from them."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.test_usage_drift import Kept
from tests.support.pictures import picture
from tests.support.worker import Bench, result
from visionq.ledger import BudgetScope, Failed, Waiting
from visionq.ledger.metrics import read_counters
from visionq.pricing.money import nano_rubles
from worker.threads.maintenance.alerts import Disbelief, Notices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

BATCH = "b-1"


@dataclass
class Provider:
    """A provider that answers as it is set."""

    provider_url: str = ""
    usage: str = "{}"
    fields: dict[str, Any] = field(default_factory=dict)
    calls: int = 0

    def body(self) -> bytes:
        output = [{"content": [{"type": "output_text", "text": "Рыжий кот."}]}]
        body = {"status": "completed", "output": output, **self.fields}
        return f'{json.dumps(body)[:-1]}, "usage": {self.usage}}}'.encode()


@pytest.fixture
def provider() -> Iterator[Provider]:
    state = Provider()
    with serving(state):
        yield state


@contextmanager
def serving(state: Provider) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            state.calls += 1
            body = state.body()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.provider_url = f"http://127.0.0.1:{server.server_port}/openai/v1"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield
        server.shutdown()


@pytest.fixture
def bench(redis: Redis, provider: Provider) -> Iterator[Bench]:
    bench = Bench(redis, provider)  # type: ignore[arg-type]  # it has the one address that is asked
    yield bench
    bench.close()


def books(bench: Bench) -> set[int]:
    """Return what the books of all, of the tenant and of the batch say was paid."""
    scopes = (BudgetScope.tenant("default"), BudgetScope.batch(BATCH))
    told = {nano_rubles(bench.ledger.book(scope).settled_rub) for scope in scopes}
    return told | {bench.money().get("settled", 0)}


ABSURD = [
    f'{{"input_tokens": {10**18}, "output_tokens": 5}}',
    f'{{"input_tokens": {4 * 10**13}, "output_tokens": 5}}',
    f'{{"input_tokens": 90, "output_tokens": {10**7}}}',
    f'{{"input_tokens": {"9" * 5000}, "output_tokens": 5}}',
]


@pytest.mark.parametrize("usage", ABSURD, ids=["10^18", "4*10^13", "answer", "5000 digits"])
def test_usage_beyond_the_call(bench: Bench, provider: Provider, usage: str) -> None:
    """A call of absurd usage is made once, settled at what was reserved, marked and reported."""
    provider.usage = usage
    answer = result(bench.run(bench.submit(picture(1), batch_id=BATCH, max_output_tokens=100)))
    assert provider.calls == 1
    assert answer.text == "Рыжий кот."
    assert answer.cost_is_estimate
    assert any("more tokens than the call can count" in warning for warning in answer.warnings)
    assert answer.usage.total_tokens == 0
    (paid,) = books(bench)
    assert 0 < paid == nano_rubles(answer.cost_rub) < 10**9
    counters = read_counters(bench.redis)
    assert sum(counters.of("usage_disbelieved", 1).values()) == 1
    assert counters.of("tokens", 3) == {}
    sender = Kept()
    Disbelief(bench.redis).run()
    Notices(bench.redis, sender, lambda: 0.0).run()  # type: ignore[arg-type]
    assert [alert.type for alert in sender.sent] == ["usage.disbelieved"]


def test_absurd_usage_of_a_failure(bench: Bench, provider: Provider) -> None:
    """The same holds for an answer that was cut off: its job fails once, and says so."""
    provider.usage = ABSURD[0]
    provider.fields = {"status": "incomplete"}
    outcome = bench.run(bench.submit(picture(2), batch_id=BATCH, max_output_tokens=100))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "incomplete"
    assert outcome.error.usage is None
    assert "more tokens than the call can count" in outcome.error.message
    (paid,) = books(bench)
    assert 0 < paid == nano_rubles(outcome.error.cost_rub) < 10**9
    assert provider.calls == 1


def test_absurd_usage_of_a_mended_answer(bench: Bench, provider: Provider) -> None:
    """A first answer whose count is not believed gets beside the one that repairs it."""
    provider.usage = ABSURD[0]
    schema = {"type": "object", "properties": {"кот": {"type": "string"}}, "required": ["кот"]}
    job_id = bench.submit(picture(3), answer_schema=schema, max_output_tokens=100)
    assert isinstance(bench.run(job_id), Waiting)
    provider.usage = '{"input_tokens": 90, "output_tokens": 5}'
    provider.fields = {"output": [{"content": [{"type": "output_text", "text": '{"кот": "рыж"}'}]}]}
    answer = result(bench.run(job_id))
    assert (answer.data, answer.repaired) == ({"кот": "рыж"}, True)
    assert answer.cost_is_estimate
    assert any("the first answer" in warning for warning in answer.warnings)
