"""Which address a download really connects to."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from ipaddress import ip_network
from typing import TYPE_CHECKING

import httpcore2
import pytest

from visionq.errors import DownloadFailed, UnsafeUrl
from worker.fetch import Fetcher, FetchPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


class Wire(httpcore2.NetworkStream):
    """A connection that answers once and keeps what it got."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.written = b""
        self.server_name: str | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002  # interface
        head, self.answer = self.answer[:max_bytes], self.answer[max_bytes:]
        return head

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002  # interface
        self.written += buffer

    def close(self) -> None:
        self.answer = b""

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002  # interface
    ) -> httpcore2.NetworkStream:
        assert ssl_context.check_hostname
        assert ssl_context.verify_mode is ssl.CERT_REQUIRED
        self.server_name = server_hostname
        return self


class Network(httpcore2.NetworkBackend):
    """Answers each connection in turn; an exception stands for a connection that fails."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.connected: list[tuple[str, int]] = []
        self.wires: list[Wire] = []

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # interface
        local_address: str | None = None,  # noqa: ARG002  # interface
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002  # interface
    ) -> httpcore2.NetworkStream:
        self.connected.append((host, port))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.wires.append(Wire(answer))
        return self.wires[-1]


class Names:
    """A resolver that answers from a list, one answer for each question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        assert port
        self.asked.append(host)
        if not self.answers:
            raise OSError(-2, "Name or service not known")
        return self.answers.pop(0)


def fetch(url: str, network: Network, names: Names, policy: FetchPolicy | None = None) -> bytes:
    with Fetcher(policy or FetchPolicy(), resolve=names, backend=network) as fetcher:
        return fetcher.fetch(url, name="a", max_bytes=1000)


def redirect(location: str) -> bytes:
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n"
    return f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()


def test_the_checked_address_is_connected_to_under_its_name() -> None:
    """The host is resolved once; its address is dialled; Host and SNI carry the name."""
    network, names = Network(OK), Names(["8.8.8.8"])
    assert fetch("https://example.org/a?b", network, names) == b"hi"
    assert (names.asked, network.connected) == (["example.org"], [("8.8.8.8", 443)])
    wire = network.wires[0]
    assert wire.server_name == "example.org"
    assert wire.written.startswith(b"GET /a?b HTTP/1.1\r\nHost: example.org\r\n")


def test_a_name_in_another_script_is_sent_in_its_network_form() -> None:
    """An internationalised name is resolved and announced as its A-label."""
    network, names = Network(OK), Names(["8.8.8.8"])
    fetch("https://пример.рф/", network, names)
    assert names.asked == ["xn--e1afmkfd.xn--p1ai"]
    assert network.wires[0].server_name == "xn--e1afmkfd.xn--p1ai"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["2a00::1", "::1"],
        ["64:ff9b::a00:1"],
        ["fe80::1%eth0"],
    ],
)
def test_one_closed_address_closes_the_host(addresses: list[str]) -> None:
    """Every address of a name is checked, and nothing is dialled if one of them is closed."""
    network = Network(OK)
    with pytest.raises(UnsafeUrl) as caught:
        fetch("http://example.org/", network, Names(addresses))
    assert network.connected == []
    assert caught.value.image == "a"


def test_a_name_that_changes_its_address_gains_nothing() -> None:
    """The address that was checked is the one dialled: there is no second look-up to poison."""
    network, names = Network(OK), Names(["8.8.8.8"], ["127.0.0.1"])
    fetch("http://example.org/", network, names)
    assert network.connected == [("8.8.8.8", 80)]
    assert names.answers == [["127.0.0.1"]]


def test_the_next_address_is_tried() -> None:
    """A host with several addresses is reached by the first that answers."""
    network = Network(httpcore2.ConnectError("refused"), OK)
    assert fetch("http://example.org/", network, Names(["2a00::1", "8.8.8.8"])) == b"hi"
    assert network.connected == [("2a00::1", 80), ("8.8.8.8", 80)]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/",
        "http://2130706433/",
        "file:///etc/passwd",
        "//10.0.0.1/",
        "http://me:secret@example.org/",
        "http://[::1",
    ],
)
def test_redirects_are_checked_again(location: str) -> None:
    """A server on the open internet can't lead downloads inside."""
    network = Network(redirect(location), OK)
    with pytest.raises(UnsafeUrl) as caught:
        fetch("http://example.org/", network, Names(["8.8.8.8"], ["8.8.8.8"]))
    assert len(network.connected) == 1
    assert caught.value.image == "a"


def test_the_name_of_a_redirect_is_resolved_and_checked_again() -> None:
    """A redirect to a harmless name with a closed address is refused when connecting."""
    network = Network(redirect("http://inside.test/"), OK)
    with pytest.raises(UnsafeUrl):
        fetch("http://example.org/", network, Names(["8.8.8.8"], ["10.0.0.1"]))
    assert network.connected == [("8.8.8.8", 80)]


def test_nothing_is_carried_along() -> None:
    """No cookie that a server set, and no referrer, is sent to where it redirects."""
    cookie = b"HTTP/1.1 302 Found\r\nLocation: /b\r\nSet-Cookie: id=1; Path=/\r\n"
    network = Network(cookie + b"Content-Length: 0\r\nConnection: close\r\n\r\n", OK)
    fetch("http://example.org/", network, Names(["8.8.8.8"], ["8.8.8.8"]))
    second = network.wires[1].written.lower()
    assert b"get /b" in second
    assert b"cookie" not in second
    assert b"referer" not in second
    assert b"authorization" not in second


TOKEN = {"cdn.example.org": {"X-Token": "secret"}}


def test_a_host_gets_its_headers_and_no_other_host_does() -> None:
    """The operator's headers go to the very host they are for, and not on with a redirect."""
    network = Network(redirect("http://elsewhere.example.org/"), OK)
    policy = FetchPolicy(host_headers=TOKEN)
    fetch("http://CDN.example.org./", network, Names(["8.8.8.8"], ["8.8.8.8"]), policy)
    first, second = (wire.written.lower() for wire in network.wires)
    assert b"x-token: secret" in first
    assert b"secret" not in second
    assert "secret" not in repr(policy)


def test_headers_for_all_hosts_below_a_name() -> None:
    """`*.example.org` gives its headers to all hosts below it, but for those named more exactly."""
    policy = FetchPolicy(
        host_headers={
            "*.example.org": {"X-Token": "wide"},
            ".deep.example.org": {"X-Token": "near"},
            "cdn.example.org": {"X-Token": "exact"},
        }
    )
    for host, token in (
        ("a.example.org", b"wide"),
        ("b.a.example.org", b"wide"),
        ("a.deep.example.org", b"near"),
        ("cdn.example.org", b"exact"),
        ("example.org", None),
        ("example.org.evil.test", None),
        ("xexample.org", None),
    ):
        network = Network(OK)
        fetch(f"http://{host}/", network, Names(["8.8.8.8"]), policy)
        sent = b"X-Token: " + token if token else b"\r\n\r\n"
        assert sent in network.wires[0].written
        assert (b"X-Token" in network.wires[0].written) is (token is not None)


def test_downloads_say_who_they_are() -> None:
    """Hosts that want a contact are sent the one that the operator gave."""
    network = Network(OK)
    policy = FetchPolicy(user_agent="shop (mail@example.org)")
    fetch("http://example.org/", network, Names(["8.8.8.8"]), policy)
    assert b"User-Agent: shop (mail@example.org)\r\n" in network.wires[0].written


@pytest.mark.parametrize("addresses", [["64:ff9b::808:808"], ["2a00::1", "64:ff9b::8.8.8.8"]])
def test_dns64_leads_to_where_its_addresses_lead(addresses: list[str]) -> None:
    """In a cluster with IPv6 alone every public host can be fetched from."""
    network = Network(OK)
    assert fetch("http://example.org/", network, Names(addresses)) == b"hi"
    assert network.connected == [(addresses[0], 80)]


def test_a_trusted_range_is_open_and_nothing_else_is() -> None:
    """If a VPN makes addresses up, the operator opens its range; the refusal says how."""
    with pytest.raises(UnsafeUrl, match=r"198\.18\.0\.7.*VPN.*VISIONQ_TRUSTED_RANGES"):
        fetch("http://example.org/", Network(OK), Names(["198.18.0.7"]))
    policy = FetchPolicy(trusted_ranges=(ip_network("198.18.0.0/15"), ip_network("fd00:64::/96")))
    for address in ("198.18.0.7", "198.19.255.255", "fd00:64::808:808"):
        assert fetch("http://example.org/", Network(OK), Names([address]), policy) == b"hi"
    for address in ("198.17.255.255", "10.0.0.1", "fd00:65::1", "169.254.169.254"):
        network = Network(OK)
        if address == "198.17.255.255":  # a public neighbour
            assert fetch("http://example.org/", network, Names([address]), policy) == b"hi"
            continue
        with pytest.raises(UnsafeUrl, match=address):
            fetch("http://example.org/", network, Names([address]), policy)
        assert network.connected == []


def test_headers_do_not_reach_hosts_below_or_beside() -> None:
    """A name that ends or begins like the host's is another host."""
    for host in ("a.cdn.example.org", "cdn.example.org.evil.test", "xcdn.example.org"):
        network = Network(OK)
        policy = FetchPolicy(host_headers=TOKEN)
        fetch(f"http://{host}/", network, Names(["8.8.8.8"]), policy)
        assert b"secret" not in network.wires[0].written


def test_a_redirect_to_a_denied_host_is_refused() -> None:
    """The deny-list holds for every address on the way."""
    network = Network(redirect("http://evil.test/"), OK)
    policy = FetchPolicy(denied_hosts=(".test",))
    with pytest.raises(UnsafeUrl, match="VISIONQ_DENIED_HOSTS"):
        fetch("http://example.org/", network, Names(["8.8.8.8"]), policy)
    assert len(network.connected) == 1


def test_a_post_goes_through_the_same_guard() -> None:
    """A POST reaches checked addresses only, follows no redirect, and returns the status."""
    network, headers = Network(OK, redirect("http://127.0.0.1/")), {"Content-Type": "text/plain"}
    names = Names(["8.8.8.8"], ["8.8.8.8"], ["10.0.0.1"])
    with Fetcher(FetchPolicy(host_headers=TOKEN), resolve=names, backend=network) as fetcher:
        url = "http://cdn.example.org/hook"
        assert fetcher.post(url, name="hook", body=b"hello", headers=headers).status == 200
        assert fetcher.post(url, name="hook", body=b"hello", headers=headers).status == 302
        with pytest.raises(UnsafeUrl) as caught:
            fetcher.post("http://inside.test/", name="hook", body=b"hello", headers=headers)
    assert caught.value.image == "hook"
    written = network.wires[0].written
    assert written.startswith(b"POST /hook HTTP/1.1\r\nHost: cdn.example.org\r\n")
    assert written.endswith(b"hello")
    assert b"X-Token: secret" in written
    assert len(network.connected) == 2


def test_a_name_server_that_hangs_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up a name is part of the time that a download may take."""
    hangs = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hangs.wait(5))
    policy, began = FetchPolicy(total_timeout=0.2), time.monotonic()
    with (
        Fetcher(policy, backend=Network(OK)) as fetcher,
        pytest.raises(DownloadFailed, match="in time"),
    ):
        fetcher.fetch("http://example.org/", name="a", max_bytes=1000)
    hangs.set()
    assert time.monotonic() - began < 2


def test_bytes_are_reserved_before_they_are_held() -> None:
    """Memory is counted before more of a body is kept, and never too little."""
    body = b"x" * 900
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    reserved: list[int] = []
    with Fetcher(
        FetchPolicy(), resolve=Names(["8.8.8.8"]), backend=Network(head + body)
    ) as fetcher:
        got = fetcher.fetch("http://a.org/", name="a", max_bytes=1000, reserve=reserved.append)
    assert got == body
    assert reserved == [1000]


def test_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment would resolve names behind our back, so it is passed by."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    network = Network(OK)
    assert fetch("http://example.org/", network, Names(["8.8.8.8"])) == b"hi"
    assert network.connected == [("8.8.8.8", 80)]


def test_an_unknown_name_fails_and_may_be_tried_again() -> None:
    """A name that does not resolve is a failed download; name servers have bad moments."""
    with pytest.raises(DownloadFailed, match="can't be reached") as caught:
        fetch("http://example.org/", Network(), Names())
    assert caught.value.retryable


def test_a_private_network_can_be_opened() -> None:
    """With private addresses allowed, the same guard lets them through."""
    policy = FetchPolicy(allow_private=True)
    assert fetch("http://inside.test:9000/", Network(OK), Names(["10.0.0.1"]), policy) == b"hi"
