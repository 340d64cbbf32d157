"""Each class of error that OpenAI's official clients know, as the gateway brings it about."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import openai
import pytest

from producer.gateway.access import Scope
from producer.gateway.gateway_settings import GatewaySettings
from tests.support.constants import with_constants
from tests.support.gateway import KEY, Gateway, asked, running_gateway, said
from visionq.devstack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from openai import OpenAI

    from tests.support.fleet import Fleet

MODEL = "gpt-6-luna"
#: What goes wrong → class of the client's error, and code.
REFUSALS: Final[dict[str, tuple[str, str | None]]] = {
    "wrong field": ("BadRequestError", "invalid_job"),
    "wrong key": ("AuthenticationError", "invalid_api_key"),
    "no scope": ("PermissionDeniedError", "missing_scope"),
    "unknown": ("NotFoundError", "job_not_found"),
    "other question, same key": ("ConflictError", "idempotency_conflict"),
    "too long": ("APIStatusError", "body_too_large"),
    "not answered in time": ("InternalServerError", "wait_timeout"),
    "too often": ("RateLimitError", "rate_limit_exceeded"),
    "nobody there": ("APIConnectionError", None),
}
#: The Node package has the same classes, but for statuses without one of their own.
NODE_REFUSALS: Final = REFUSALS | {"too long": ("APIError", "body_too_large")}


@contextmanager
def narrow_gateway(gateway: Gateway, fleet: Fleet, folder: Path) -> Iterator[Gateway]:
    """A second gateway with the files of the first, which soon refuses and waits for nothing."""
    fleet.simulator.configure(latency_s=1)
    extra = with_constants(folder, GatewaySettings, max_body_bytes=8000)
    extra["VISIONQ_GATEWAY_REQUESTS_PER_MINUTE"] = "12"
    extra["VISIONQ_GATEWAY_LONGEST_WAIT"] = "0.2"
    with running_gateway(folder, fleet.server.url, gateway.files, **extra) as narrow:
        yield narrow


def test_each_class(gateway: Gateway, client: OpenAI, fleet: Fleet, tmp_path: Path) -> None:
    """The Python client raises for each refusal the class that it has for it, with our code."""
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    reader = gateway.new_key("default", [Scope.READ])
    once: Any = {"model": MODEL, "background": True, "extra_headers": {"Idempotency-Key": "once"}}
    ask = client.responses.create
    ask(input=asked(1), **once)
    with (
        narrow_gateway(gateway, fleet, tmp_path) as small,
        small.openai(small.new_key("narrow"), max_retries=0) as narrow,
        gateway.openai("vq-wrong") as stranger,
        gateway.openai(reader) as looker,
        narrow.with_options(base_url=nobody) as lost,
    ):
        found = {
            "wrong field": refusal(lambda: ask(model=MODEL, input=asked(1), max_tool_calls=1)),
            "wrong key": refusal(stranger.models.list),
            "no scope": refusal(lambda: looker.responses.create(model=MODEL, input=asked(1))),
            "unknown": refusal(lambda: client.responses.retrieve("resp_nobody")),
            "other question, same key": refusal(lambda: ask(input=asked(2), **once)),
            "too long": refusal(
                lambda: narrow.responses.create(model=MODEL, input=asked(1, "x" * 9000))
            ),
            "not answered in time": refusal(
                lambda: narrow.chat.completions.create(model=MODEL, messages=said(3))
            ),
            "too often": refusal(lambda: [narrow.models.list() for _ in range(30)]),
            "nobody there": refusal(lost.models.list),
        }
    assert found == REFUSALS


def refusal(act: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(openai.OpenAIError) as refused:
        act()
    error: Any = refused.value
    return type(error).__name__, error.code


def test_time_is_up(client: OpenAI, fleet: Fleet) -> None:
    """A client whose own patience ends has its timeout; the job goes on and is paid once."""
    fleet.simulator.configure(latency_s=1.5)
    fleet.simulator.reset_bill()
    again = {"Idempotency-Key": "patience"}
    hasty = client.with_options(timeout=0.5, max_retries=0)
    with pytest.raises(openai.APITimeoutError):
        hasty.responses.create(model=MODEL, input=asked(90), extra_headers=again)
    done = client.responses.create(model=MODEL, input=asked(90), extra_headers=again)
    assert done.status == "completed"
    assert fleet.simulator.bill()["billed"] == 1


@pytest.mark.parametrize(
    "target", ["/v1/jobs", "/v1/files", "/v1/responses", "/v1/batches", "/v1/quotes"]
)
def test_clients_that_hang_up(gateway: Gateway, target: str) -> None:
    """A client that goes before its body is whole leaves no trace of a fault in the log."""
    head = (
        f"POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    before = len(gateway.log())
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", gateway.port), 5) as connection:
            connection.sendall(head.encode() + b'{"prompt": ')
    with gateway.http() as http:
        assert http.get("/v1/jobs").status_code == 200
    time.sleep(0.3)
    said_since = gateway.log()[before:]
    assert "Traceback" not in said_since
    assert len(said_since) < 1000
