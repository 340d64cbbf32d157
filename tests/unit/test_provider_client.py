"""The client: what it takes from settings, and what it does not take from the environment."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from subprocess import run
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest

from visionq.contract import Api
from visionq.errors import BillingUnknown, ProviderUnavailable, VisionqError
from visionq.settings import ConfigurationError, Settings
from worker.provider.provider_client import (
    BoundedClient,
    ask,
    make_async_client,
    make_client,
)
from worker.provider.request import PATHS, ProviderRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = "https://provider.test/openai/v1"
ANSWER = {"status": "completed", "output": [{"content": [{"type": "output_text", "text": "Да"}]}]}
REQUEST = ProviderRequest(Api.RESPONSES, PATHS[Api.RESPONSES], '{"ё": 1}'.encode(), ("a.jpg",))


def sent(settings: Settings, **own: Any) -> httpx2.Request:
    seen: list[httpx2.Request] = []
    options: Any = own

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=ANSWER)

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    client = make_async_client(settings, http_client)
    if options:
        asyncio.run(
            client.post("/responses", cast_to=httpx2.Response, content=b"{}", options=options)
        )
    else:
        asyncio.run(ask(client, REQUEST))
    (request,) = seen
    return request


def test_the_bytes_go_out_as_they_were_built() -> None:
    """The body is sent unchanged, to the path below the configured address."""
    request = sent(Settings(api_key="sk-ours", base_url=ADDRESS))
    assert str(request.url) == f"{ADDRESS}/responses"
    assert request.content == '{"ё": 1}'.encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer sk-ours"


def test_options_of_one_call_hold() -> None:
    """A call of ready bytes keeps a timeout, headers and a query of its own."""
    settings = Settings(api_key="sk-ours", base_url=ADDRESS)
    for own in (9.0, httpx2.Timeout(9)):
        assert sent(settings, timeout=own).extensions["timeout"]["read"] == 9
    assert sent(settings, headers={"X-Own": "1"}).headers["x-own"] == "1"
    assert sent(settings, params={"own": "1"}).url.params["own"] == "1"


def test_the_environment_of_the_sdk_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `OPENAI_…` variable changes key or address, or adds a header."""
    foreign = "Authorization: Bearer foreign\nX-Foreign: foreign"
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "foreign")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://foreign.test/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", foreign)
    request = sent(Settings(api_key="sk-ours", base_url=ADDRESS))
    assert request.url.host == "provider.test"
    assert request.headers["authorization"] == "Bearer sk-ours"
    assert "foreign" not in str(request.headers.multi_items())
    assert not [name for name in request.headers if name.startswith("openai-")]


def test_one_call_is_one_request() -> None:
    """Neither the library's retries nor redirects make a second call of one."""
    settings = Settings(api_key="sk-ours", base_url=ADDRESS)
    for client in (make_client(settings), make_async_client(settings)):
        assert client.max_retries == 0
        assert isinstance(client, openai.OpenAI | openai.AsyncOpenAI)
        assert client._client.follow_redirects is False


def test_timeouts_come_from_the_settings() -> None:
    """Reaching the provider and waiting for it have limits of their own."""
    settings = Settings(api_key="k", base_url=ADDRESS, connect_timeout=3, request_timeout=70)
    timeout = make_client(settings).timeout
    assert isinstance(timeout, httpx2.Timeout)
    assert (timeout.connect, timeout.pool) == (3, 3)
    assert (timeout.read, timeout.write) == (70, 70)


def test_a_missing_key_is_told_at_once() -> None:
    """A missing key is named before any job is touched."""
    with pytest.raises(ConfigurationError, match="PROXYAPI_API_KEY: not set"):
        make_client(Settings(api_key=None, base_url=ADDRESS))


def test_blanks_around_a_key_do_no_harm() -> None:
    """A key read from a file with its line end is still the key."""
    request = sent(Settings(api_key=" sk-ours\n", base_url=ADDRESS))
    assert request.headers["authorization"] == "Bearer sk-ours"


@pytest.mark.parametrize("host", ["127.0.0.1:8", "localhost:8", "[::1]:8"])
def test_this_machine_needs_no_key(host: str) -> None:
    """The simulator is called without a key, and past any proxy of the environment."""
    settings = Settings(api_key=None, base_url=f"http://{host}/openai/v1")
    for client in (make_client(settings), make_async_client(settings)):
        assert client.api_key == "none"
        assert client._client.trust_env is False


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx2.ConnectError, ProviderUnavailable),
        (httpx2.ConnectTimeout, ProviderUnavailable),
        (httpx2.PoolTimeout, ProviderUnavailable),
        (httpx2.ProxyError, ProviderUnavailable),
        (httpx2.UnsupportedProtocol, ProviderUnavailable),
        (httpx2.LocalProtocolError, ProviderUnavailable),
        (httpx2.ReadTimeout, BillingUnknown),
        (httpx2.WriteTimeout, BillingUnknown),
        (httpx2.ReadError, BillingUnknown),
        (httpx2.WriteError, BillingUnknown),
        (httpx2.CloseError, BillingUnknown),
        (httpx2.RemoteProtocolError, BillingUnknown),
        (httpx2.DecodingError, BillingUnknown),
        (ssl.SSLError, BillingUnknown),
    ],
)
def test_only_what_never_left_is_free(failure: type[Exception], error: type[VisionqError]) -> None:
    """A fault of the line is free where the request can't have left, and nowhere else."""

    def fail(_request: httpx2.Request) -> httpx2.Response:
        raise failure("broken")

    settings = Settings(api_key="sk-ours", base_url=ADDRESS)
    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(fail))
    client = make_async_client(settings, http_client)
    with pytest.raises(error, match="broken") as caught:
        asyncio.run(ask(client, REQUEST))
    assert type(caught.value) is error


class Drip(httpx2.SyncByteStream):
    """A body that takes a second for each piece and never ends."""

    def __init__(self, clock: list[float], piece: bytes) -> None:
        self.clock = clock
        self.piece = piece
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.clock[0] += 1
            yield self.piece

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("piece", "error"),
    [(b" ", httpx2.ReadTimeout), (b" " * 33 * 1024 * 1024, httpx2.ReadError)],
    ids=["slow", "endless"],
)
def test_no_answer_goes_on_for_ever(piece: bytes, error: type[Exception]) -> None:
    """A body that drips or floods is given up, and its connection closed."""
    now = [0.0]
    body = Drip(now, piece)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=body))
    with BoundedClient(total=10, clock=lambda: now[0], transport=transport) as client:
        with pytest.raises(error):
            client.get("http://provider.test/")
        assert now[0] <= 11
        assert body.closed


def test_pure_parts_import_without_the_sdk() -> None:
    """Deciding, building and reading cost no import of the client library."""
    modules = "worker.decision, worker.provider.answer, worker.provider.request"
    code = f"import {modules}, json, sys; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(
        run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )  # our own code
    assert not {"openai", "httpx2", "jsonschema"} & set(loaded)
