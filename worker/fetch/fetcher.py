"""Download untrusted URLs: guarded, limited, shared fairly among tenants."""

from __future__ import annotations

import io
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final, Self

import httpcore2
import httpx2

from visionq.errors import DownloadFailed, TooLarge, UnsafeUrl
from visionq.fair_limiter import FairLimiter
from worker.fetch.guard import check_url, matches_host
from worker.fetch.network import GuardedBackend, PoolTransport, Resolve, resolve_by_system
from worker.http_limits import BodyTooLong, bounded, pieces, shared_ssl_context, until
from worker.retry_after import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from worker.fetch.guard import FetchPolicy


@dataclass
class _Host:
    slots: FairLimiter
    #: Threads that hold a slot or wait for one; with none left the host is forgotten.
    users: int = 0


class HostSlots:
    """A number of places for each host, and for all of them together."""

    def __init__(self, count: int, total: int) -> None:
        """Give every host `count` places, and all together `total`."""
        self._count = count
        self._all = FairLimiter(total)
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, host: str, tenant: str) -> Iterator[None]:
        """Hold a slot of a host; raises `httpcore2.PoolTimeout` past the deadline."""
        with self._lock:
            entry = self._hosts.setdefault(host, _Host(FairLimiter(self._count)))
            entry.users += 1
        try:
            # The host's first: who waits for a slow host takes no place from other hosts.
            with _held(entry.slots, tenant), _held(self._all, tenant):
                yield
        finally:
            with self._lock:
                entry.users -= 1
                if not entry.users:
                    del self._hosts[host]

    def __len__(self) -> int:
        """Count the hosts in use."""
        return len(self._hosts)


@contextmanager
def _held(slots: FairLimiter, tenant: str) -> Iterator[None]:
    if not slots.take(tenant, timeout=bounded(None, httpcore2.ConnectTimeout)):
        raise httpcore2.PoolTimeout("too many downloads at a time")
    try:
        yield
    finally:
        slots.give_back(tenant)


_HEADERS: Final = {
    "Accept": "image/*, */*;q=0.1",
    # Pictures don't shrink; a server that compresses all the same is understood.
    "Accept-Encoding": "identity",
}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
#: Refusals that another attempt may overcome, besides every 5xx.
_TRANSIENT: Final = frozenset({408, 425, 429})
_FAULTS: Final = (
    httpx2.HTTPError,
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
)


#: Bytes reserved beyond those that have come: most pictures are smaller than the first of these.
_RESERVED_AHEAD: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class DownloadResponse:
    """A server's response."""

    status: int
    #: Seconds for which it asks to be left alone, at most `longest_wait`.
    retry_after: float | None = None


def _no_reserve(_: int) -> None:
    """Reserve nothing."""


class Fetcher:
    """Fetches pictures from the open internet; one for each process, used by all its threads.

    Nothing of the environment is used: no proxy, no `.netrc`, no certificate path. No cookie is
    ever sent, and no credential but the operator's own headers, to the very host they are for.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        resolve: Resolve = resolve_by_system,
        backend: httpcore2.NetworkBackend | None = None,
    ) -> None:
        """Fetch under `policy`; `resolve` and `backend` replace the system's."""
        self._policy = policy
        self._hosts = HostSlots(policy.max_connections_per_host, policy.max_connections)
        guarded = GuardedBackend(
            allow_private=policy.allow_private,
            trusted=policy.trusted_ranges,
            resolve=resolve,
            backend=backend,
        )
        self._client = httpx2.Client(
            transport=PoolTransport(
                guarded,
                max_connections=policy.max_connections,
                ssl_context=shared_ssl_context(trust_env=False),
            ),
            headers=_HEADERS | {"User-Agent": policy.user_agent},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=httpx2.Timeout(
                policy.read_timeout, connect=policy.connect_timeout, pool=policy.total_timeout
            ),
            follow_redirects=False,
            trust_env=False,
        )

    def fetch(
        self,
        url: str,
        *,
        name: str,
        max_bytes: int,
        reserve: Callable[[int], None] = _no_reserve,
        tenant: str = "",
    ) -> bytes:
        """Return the body behind `url`, at most `max_bytes` of it once unpacked.

        Connections are shared by tenants. `reserve(size)` is called before more than the bytes
        reserved so far are held in memory.

        Raises:
            UnsafeUrl: the URL, or a redirect, leads where downloads must not go.
            TooLarge: the body is longer.
            DownloadFailed: it can't be had; `retryable` is False where another attempt is futile.
        """
        with self._mapping_errors(name):
            return self._follow(url, tenant, name=name, max_bytes=max_bytes, reserve=reserve)

    @contextmanager
    def job(self, downloads: int) -> Iterator[None]:
        """Bound the time that all downloads of one job take together."""
        policy = self._policy
        longest = max(policy.job_timeout, policy.job_timeout_each * downloads)
        with until(time.monotonic() + longest):
            yield

    def post(
        self, url: str, *, name: str, body: bytes, headers: Mapping[str, str], tenant: str = ""
    ) -> DownloadResponse:
        """Send `body` under the same guard and return the answer; redirects are not followed.

        Raises:
            UnsafeUrl: the URL leads where nothing must be sent.
            DownloadFailed: the server can't be reached, or does not answer in time.
        """
        with self._mapping_errors(name):
            checked = check_url(url, name=name, policy=self._policy)
            with (
                self._hosts.of(checked.host, tenant),
                self._client.stream(
                    "POST", checked, content=body, headers={**headers, **self._own_headers(checked)}
                ) as response,
            ):
                wait = retry_after(response.headers, time.time(), self._policy.longest_wait)
                return DownloadResponse(response.status_code, wait)

    @contextmanager
    def _mapping_errors(self, name: str) -> Iterator[None]:
        """Bound the time of a request, and map its failures to our errors."""
        try:
            with until(time.monotonic() + self._policy.total_timeout):
                yield
        except UnsafeUrl as error:
            raise UnsafeUrl(error.message, image=name) from None
        except (httpcore2.TimeoutException, httpx2.TimeoutException) as error:
            raise DownloadFailed("the server does not answer in time", image=name) from error
        except httpx2.DecodingError as error:
            raise DownloadFailed("the body can't be unpacked", image=name) from error
        except _FAULTS as error:
            raise DownloadFailed("the server can't be reached", image=name) from error

    def _own_headers(self, url: httpx2.URL) -> Mapping[str, str]:
        """Return the headers for the host by name, else for all below the nearest name."""
        headers = self._policy.host_headers
        host = url.raw_host.decode("ascii").rstrip(".")
        names = [name for name in headers if matches_host(host, name)]
        if not names:
            return {}
        return headers[host if host in headers else max(names, key=lambda name: name.count("."))]

    def _follow(
        self,
        address: str,
        tenant: str,
        *,
        name: str,
        max_bytes: int,
        reserve: Callable[[int], None],
    ) -> bytes:
        for _ in range(self._policy.max_redirects + 1):
            url = check_url(address, name=name, policy=self._policy)
            with (
                self._hosts.of(url.host, tenant),
                self._client.stream("GET", url, headers=self._own_headers(url)) as response,
            ):
                if response.status_code not in _REDIRECTS:
                    body = _fast_enough(response, pieces(response, max_bytes), self._policy, name)
                    return _body(response, body, name=name, max_bytes=max_bytes, reserve=reserve)
                address = _target(url, response, name=name)
        message = f"more than {self._policy.max_redirects} redirects; give the final address"
        raise _final(message, name=name)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _target(url: httpx2.URL, response: httpx2.Response, *, name: str) -> str:
    location = response.headers.get("location")
    if not location:
        raise _final(f"the server answered {_words(response)} without an address", name=name)
    try:
        return str(url.join(location))
    except (httpx2.InvalidURL, ValueError):
        raise UnsafeUrl("a redirect leads to a URL that can't be read") from None


def _fast_enough(
    response: httpx2.Response, body: Iterator[bytes], policy: FetchPolicy, name: str
) -> Iterator[bytes]:
    """Yield a body unless it drips; only time spent waiting for it counts."""
    waited, began = 0.0, time.monotonic()
    for piece in body:
        waited += time.monotonic() - began
        least = policy.least_rate * waited
        if waited > policy.least_rate_after and response.num_bytes_downloaded < least:
            message = f"the server sends fewer than {policy.least_rate:,.0f} bytes a second"
            raise DownloadFailed(message, image=name)
        yield piece
        began = time.monotonic()


def _body(
    response: httpx2.Response,
    pieces_of_body: Iterator[bytes],
    *,
    name: str,
    max_bytes: int,
    reserve: Callable[[int], None],
) -> bytes:
    if response.status_code != HTTPStatus.OK:
        raise _refusal(response, name=name)
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(name, max_bytes)
    body, size, reserved = io.BytesIO(), 0, 0  # whose bytes are handed out without a copy
    try:
        for piece in pieces_of_body:
            size += len(piece)
            if size > reserved:
                reserved = min(size + _RESERVED_AHEAD, max_bytes)
                reserve(reserved)
            body.write(piece)
    except BodyTooLong:
        raise _too_large(name, max_bytes) from None
    return body.getvalue()


def _too_large(name: str, max_bytes: int) -> TooLarge:
    message = f"the download is larger than {max_bytes:,} bytes; give a smaller picture"
    return TooLarge(message, image=name)


def _refusal(response: httpx2.Response, *, name: str) -> DownloadFailed:
    status = response.status_code
    transient = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT
    error = DownloadFailed(
        f"the server answered {_words(response)}",
        image=name,
        retry_after=retry_after(response.headers, time.time()) if transient else None,
    )
    error.retryable = transient
    return error


def _final(message: str, *, name: str) -> DownloadFailed:
    error = DownloadFailed(message, image=name)
    error.retryable = False
    return error


def _words(response: httpx2.Response) -> str:
    try:
        return f"{response.status_code} {HTTPStatus(response.status_code).phrase}"
    except ValueError:
        return str(response.status_code)
