"""Calls that wait for an answer which does not come before an operator acts."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import openai
import pytest

from producer.gateway.gateway_settings import GatewaySettings
from tests.support.constants import with_constants
from tests.support.gateway import asked, running_gateway, said
from tests.support.pictures import data_url
from tests.support.waiting import until
from visionq.ledger import BudgetScope, Ledger
from visionq.ledger.gates import read_gate
from visionq.ledger.records import GateOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx2
    from openai import OpenAI

    from tests.support.fleet import Fleet
    from tests.support.gateway import Gateway

pytestmark = pytest.mark.timeout(180)
MODEL = "gpt-6-luna"
#: Of the longest wait, which is 300 s, this is none.
AT_ONCE = 30


@pytest.fixture
def poor(gateway: Gateway, fleet: Fleet) -> Iterator[OpenAI]:
    """A client whose tenant may spend nothing."""
    ledger = Ledger(fleet.redis)
    ledger.set_budget(BudgetScope.tenant("poor"), Decimal(0))
    with gateway.openai(gateway.new_key("poor"), timeout=60) as client:
        yield client
    ledger.set_budget(BudgetScope.tenant("poor"), None)


@contextmanager
def closed(fleet: Fleet) -> Iterator[None]:
    ledger = Ledger(fleet.redis)
    (key,) = (one.key for one in read_gate(fleet.redis).keys)
    ledger.steer_gate(key, GateOrder.CLOSE)
    try:
        yield
    finally:
        ledger.steer_gate(key, GateOrder.OPEN)


def response(client: OpenAI, number: int, **options: Any) -> Any:
    return client.responses.create(model=MODEL, input=asked(number), **options)


def completion(client: OpenAI, number: int, **options: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=said(number), **options)


both = pytest.mark.parametrize("ask", [response, completion])


@both
def test_a_spent_budget(poor: OpenAI, fleet: Fleet, ask: Callable[..., Any]) -> None:
    """Without money a call is refused at once, as OpenAI does it, and nothing is paid later."""
    began = time.monotonic()
    with pytest.raises(openai.RateLimitError) as refused:
        ask(poor, 40)
    assert time.monotonic() - began < AT_ONCE
    assert (refused.value.code, refused.value.type) == ("insufficient_quota", "insufficient_quota")
    assert refused.value.response.headers["x-should-retry"] == "false"
    fleet.simulator.reset_bill()
    Ledger(fleet.redis).set_budget(BudgetScope.tenant("poor"), None)
    assert ask(poor, 41).visionq["state"] == "completed"
    assert fleet.simulator.bill()["billed"] == 1


def test_an_idempotent_call_keeps_its_job(poor: OpenAI, fleet: Fleet) -> None:
    """Under an `Idempotency-Key` the job stays, and the same call fetches its answer later."""
    again = {"extra_headers": {"Idempotency-Key": "poor-42"}}
    for _ in range(2):
        with pytest.raises(openai.RateLimitError):
            response(poor, 42, **again)
    Ledger(fleet.redis).set_budget(BudgetScope.tenant("poor"), None)
    assert response(poor, 42, **again).status == "completed"


@both
def test_a_closed_gate(client: OpenAI, fleet: Fleet, ask: Callable[..., Any]) -> None:
    """While an operator holds all calls, a call is refused at once, and when to ask again."""
    with closed(fleet):
        began = time.monotonic()
        with pytest.raises(openai.InternalServerError) as refused:
            ask(client, 43)
        assert time.monotonic() - began < AT_ONCE
    assert (refused.value.status_code, refused.value.code) == (503, "gate_closed")
    assert refused.value.response.headers["retry-after"] == "60"
    assert "operator" in str(refused.value)
    assert ask(client, 44).visionq["state"] == "completed"


@both
def test_streams_are_refused_too(client: OpenAI, fleet: Fleet, ask: Callable[..., Any]) -> None:
    """A stream that can't begin is refused by its status, not by an event."""
    with closed(fleet), pytest.raises(openai.InternalServerError) as refused:
        ask(client, 50, stream=True)
    assert (refused.value.status_code, refused.value.code) == (503, "gate_closed")


def test_a_call_that_waits_all_the_same(poor: OpenAI, fleet: Fleet) -> None:
    """A client can ask to wait for the money too."""
    ledger = Ledger(fleet.redis)

    def raise_budget() -> None:
        until(lambda: "parked" in fleet.counts(), 30, "the job to be parked")
        ledger.set_budget(BudgetScope.tenant("poor"), None)

    with ThreadPoolExecutor(1) as pool:
        raised = pool.submit(raise_budget)
        patient = {"X-Visionq-When-Parked": "wait"}
        assert response(poor, 45, extra_headers=patient).status == "completed"
        raised.result()
    with pytest.raises(openai.BadRequestError) as wrong:
        response(poor, 46, extra_headers={"X-Visionq-When-Parked": "perhaps"})
    assert "When-Parked" in str(wrong.value)


def test_the_settings_say_how_to_wait(fleet: Fleet, tmp_path: Path) -> None:
    """With `wait_when_parked` calls wait as long as they may, unless they refuse."""
    waiting = with_constants(tmp_path, GatewaySettings, wait_when_parked=True)
    extra = waiting | {"VISIONQ_GATEWAY_LONGEST_WAIT": "2"}
    with (
        closed(fleet),
        running_gateway(tmp_path, fleet.server.url, **extra) as patient,
        patient.openai(max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError) as late:
            completion(client, 47)
        assert late.value.code == "wait_timeout"
        with pytest.raises(openai.InternalServerError) as refused:
            completion(client, 48, extra_headers={"X-Visionq-When-Parked": "refuse"})
        assert refused.value.code == "gate_closed"


def test_native_jobs(http: httpx2.Client, fleet: Fleet) -> None:
    """A native job with a wait is returned at once, parked, with the reason."""
    body = {"prompt": "What?", "images": [{"url": data_url(49)}]}
    with closed(fleet):
        began = time.monotonic()
        reply = http.post("/v1/jobs", json=body, headers={"Prefer": "wait=55"})
        job = reply.json()
        assert (reply.status_code, job["state"], job["reason"]) == (202, "parked", "operator")
        seen = http.get(job["urls"]["self"], headers={"Prefer": "wait=55"}).json()
        assert (seen["state"], seen["reason"]) == ("parked", "operator")
        assert time.monotonic() - began < AT_ONCE
    done = http.get(job["urls"]["self"], headers={"Prefer": "wait=55"}).json()
    assert done["state"] == "completed"
