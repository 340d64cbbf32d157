"""The provider's clients, of the event loop and of threads, and the one call of an attempt."""

from __future__ import annotations

import time
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx2
import openai
from openai import NotGiven

from visionq.errors import BillingUnknown, ProviderUnavailable, VisionqError
from visionq.http_checks import is_loopback
from visionq.providers import load_profile
from visionq.settings import ConfigurationError
from worker.http_limits import (
    LONGEST_BODY,
    harden,
    pieces,
    shared_ssl_context,
    until,
    with_body,
)
from worker.provider.aiohttp_transport import KEEP_ALIVE, BoundedAsyncClient, OutgoingBody
from worker.provider.answer import read_answer
from worker.provider.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openai._models import FinalRequestOptions

    from visionq.settings import Settings
    from worker.provider.answer import ProviderAnswer
    from worker.provider.request import ProviderRequest

#: The simulator asks for no key, and nobody else hears this one.
_NO_KEY: Final = "none"


class _OwnHeaders:
    """Headers of each call: ours alone, without the `OPENAI_…` variables of the environment."""

    #: Scheme in the header `Authorization`.
    authorization: str = "Bearer"
    api_key: str

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        """Headers of each call.

        The inherited ones add organization, project and `OPENAI_CUSTOM_HEADERS`, which may even
        replace our key (openai 3.54).
        """
        return {**self.own_headers}

    @property
    def own_headers(self) -> dict[str, str]:
        """The same, as plain strings."""
        return {
            "Authorization": f"{self.authorization} {self.api_key}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": f"OpenAI/Python {openai.__version__}",
        }


class ProviderClient(_OwnHeaders, openai.OpenAI):
    """The official client."""


class AsyncProviderClient(_OwnHeaders, openai.AsyncOpenAI):
    """The official client, for the event loop."""

    @cached_property
    def _ready_headers(self) -> httpx2.Headers:
        headers = httpx2.Headers(self._client.headers)
        headers.update(self.own_headers)
        return headers

    def _build_request(
        self, options: FinalRequestOptions, *, retries_taken: int = 0
    ) -> httpx2.Request:
        """Build the request of a ready body at less cost.

        The inherited way parses the address twice and merges headers three times, which is a third
        of the work of a call beside its transport (openai 3.54).
        """
        body = options.content
        if options.headers or options.params or not isinstance(body, OutgoingBody):
            return super()._build_request(options, retries_taken=retries_taken)
        timeout = self.timeout if isinstance(options.timeout, NotGiven) else options.timeout
        url = _parsed(options.url)
        headers = self._ready_headers.copy()
        headers["Host"] = url.netloc.decode("ascii")
        headers["Content-Length"] = str(body.size)
        return httpx2.Request(
            options.method,
            url,
            headers=headers,
            stream=body,
            extensions={"timeout": httpx2.Timeout(timeout).as_dict()},
        )


_parsed = lru_cache(httpx2.URL)


class BoundedClient(openai.DefaultHttpxClient):
    """An HTTP client whose calls end in time, however slowly the answer drips.

    The timeouts of HTTP libraries count from one read to the next. Here the clock runs from the
    start of the call: each phase of it (request, head, body) may stall for what is left of the
    time when it begins, a head or a request that drips is cut off by `worker.http_limits`, and the
    body is given up at the first piece that comes too late.
    """

    def __init__(
        self,
        *,
        total: float,
        first_byte: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,  # noqa: ANN401  # what httpx2.Client takes
    ) -> None:
        """Bound every call to `total` seconds, and `first_byte` of them without an answer."""
        super().__init__(**options)
        self._total = total
        self._first_byte = first_byte or total
        self._clock = clock
        harden(self)

    def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        **options: Any,  # noqa: ANN401  # what httpx2.Client.send takes
    ) -> httpx2.Response:
        """Send the request; a late end raises `ReadTimeout`, a body without end `ReadError`.

        With `stream`, only time is bounded.
        """
        deadline = self._clock() + self._total
        timeouts = request.extensions.setdefault("timeout", {})

        def shorten(event: str, _details: object) -> None:
            # The transport looks its timeouts up at the start of each phase, after telling so.
            left = max(deadline - self._clock(), 0.001)
            is_head = event.endswith("receive_response_headers.started")
            timeouts["write"] = left
            timeouts["read"] = min(self._first_byte, left) if is_head else left

        request.extensions["trace"] = shorten
        with until(deadline, self._clock):
            response = super().send(request, stream=True, **options)
        inner = response.stream
        if isinstance(inner, httpx2.SyncByteStream):
            response.stream = _BoundedStream(inner, request, deadline, self._clock)
        return response if stream else _read(response)


def _read(response: httpx2.Response) -> httpx2.Response:
    """Return the response with its body, unpacked."""
    try:
        body = b"".join(pieces(response, LONGEST_BODY))
    finally:
        response.close()
    return with_body(response.status_code, response.headers.raw, body, response.request)


class _BoundedStream(httpx2.SyncByteStream):
    def __init__(
        self,
        inner: httpx2.SyncByteStream,
        request: httpx2.Request,
        deadline: float,
        clock: Callable[[], float],
    ) -> None:
        self._inner = inner
        self._request = request
        self._deadline = deadline
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._inner:
            if self._clock() > self._deadline:
                raise httpx2.ReadTimeout("the answer took too long", request=self._request)
            yield piece

    def close(self) -> None:
        self._inner.close()


def make_client(settings: Settings, http_client: httpx2.Client | None = None) -> openai.OpenAI:
    """Return a client for the address and key of the settings, and of nothing else.

    It repeats no call by itself and follows no redirect: each attempt is ours to account for.
    `http_client` takes the place of the one built from the settings, its timeouts included.

    Raises:
        ConfigurationError: the key is missing.
    """
    host = _host(settings)
    client = ProviderClient(
        **_options(settings), http_client=http_client or _http_client(settings, host)
    )
    client.authorization = load_profile(settings.provider).authorization
    return client


def make_async_client(
    settings: Settings, http_client: httpx2.AsyncClient | None = None
) -> openai.AsyncOpenAI:
    """Return an asynchronous client for one event loop; raises as `make_client`."""
    client = AsyncProviderClient(
        **_options(settings), http_client=http_client or _async_http_client(settings)
    )
    client.authorization = load_profile(settings.provider).authorization
    return client


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "api_key": _key(settings, _host(settings)),
        "base_url": settings.base_url,
        "admin_api_key": "",
        "webhook_secret": "",
        "max_retries": 0,
        "timeout": _timeout(settings),
    }


def _host(settings: Settings) -> str:
    return urlsplit(settings.base_url).hostname or ""


def _async_http_client(settings: Settings) -> httpx2.AsyncClient:
    return BoundedAsyncClient(
        total=settings.request_timeout,
        connect_timeout=settings.connect_timeout,
        first_byte=settings.first_byte_timeout,
        # A proxy of the environment may lead to the provider, never to this machine.
        trust_env=not is_loopback(_host(settings)),
    )


def _http_client(settings: Settings, host: str) -> httpx2.Client:
    # A proxy of the environment may lead to the provider, never to this machine.
    trust_env = not is_loopback(host)
    return BoundedClient(
        total=settings.request_timeout,
        first_byte=settings.first_byte_timeout,
        timeout=_timeout(settings),
        limits=httpx2.Limits(keepalive_expiry=KEEP_ALIVE),
        follow_redirects=False,
        verify=shared_ssl_context(trust_env=trust_env),
        trust_env=trust_env,
    )


def _timeout(settings: Settings) -> httpx2.Timeout:
    return httpx2.Timeout(
        settings.request_timeout,
        connect=settings.connect_timeout,
        pool=settings.connect_timeout,
    )


def _key(settings: Settings, host: str) -> str:
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    if is_loopback(host):
        return _NO_KEY
    raise ConfigurationError("PROXYAPI_API_KEY: not set")


#: Ends of a call that never left this machine whole (httpx2 2.16). `WriteError` is none of them:
#: the library swallows it and tells what the reading of the answer then came to.
_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)


async def ask(
    client: openai.AsyncOpenAI,
    request: ProviderRequest,
    *,
    body: OutgoingBody | None = None,
    clock: Callable[[], float] = time.time,
    on_reply: Callable[[Reply], None] = lambda _: None,
) -> ProviderAnswer:
    """Send the request once and return the answer; `on_reply` gets any reply.

    `body`: sent in the place of the request's own, and not kept once it is sent.

    Raises:
        ProviderUnavailable: the provider was not reached, or said that it can't; nothing billed.
        BillingUnknown: the request was sent and no readable answer came.
        AnswerError: there is a paid answer, but not a usable one.
        VisionqError: what `worker.provider.refusal_rules` makes of the provider's own error.
    """
    address = request.profile.address_for(request.model, str(client.base_url)).rstrip("/")
    try:
        # Ready bytes: the typed methods walk and rebuild the body, at three times the cost.
        response = await client.post(
            address + request.path,
            cast_to=httpx2.Response,
            content=body or OutgoingBody(request.body),
            options={} if request.patience is None else {"timeout": request.patience},
        )
    except openai.APIStatusError as error:
        response = error.response
    except openai.APIConnectionError as error:
        raise connection_error(error.__cause__ or error) from error
    reply = read_reply(response)
    on_reply(reply)
    return read_answer(reply, request, now=clock())


def read_reply(response: httpx2.Response) -> Reply:
    """Return the reply, independent of the HTTP client."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content)


def connection_error(cause: BaseException) -> VisionqError:
    """Return the error of a call that brought no answer: unavailable if unsent, else unknown."""
    what = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
    if isinstance(cause, _NOT_SENT):
        return ProviderUnavailable(f"the provider was not reached ({what})")
    if isinstance(cause, httpx2.TimeoutException):
        return BillingUnknown(f"no answer in time ({what})")
    return BillingUnknown(f"the connection broke before the whole answer came ({what})")
