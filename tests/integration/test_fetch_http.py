"""Downloads from real servers on loopback."""

from __future__ import annotations

import gzip
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from visionq.errors import DownloadFailed, TooLarge, UnsafeUrl, VisionqError
from worker.fetch import Fetcher, FetchPolicy
from worker.retry_after import LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURE = bytes(range(256)) * 40
LIMIT = 100_000


class Handler(BaseHTTPRequestHandler):
    """A server that misbehaves by path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, argument = self.path.strip("/").partition("/")
        getattr(self, path)(argument)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def picture(self, _argument: str) -> None:
        self.answer(200, PICTURE)

    def counted(self, _argument: str) -> None:
        server = self.server
        assert isinstance(server, Server)
        with server.lock:
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        time.sleep(0.02)
        with server.lock:
            server.at_once -= 1
        self.answer(200, PICTURE)

    def status(self, argument: str) -> None:
        status, _, wait = argument.partition("/")
        self.answer(int(status), b"no", Retry_After=wait or "7")

    def redirect(self, argument: str) -> None:
        left = int(argument)
        self.answer(302, Location=f"/redirect/{left - 1}" if left > 1 else "/picture")

    def loop(self, _argument: str) -> None:
        self.answer(301, Location="/loop")

    def lost(self, _argument: str) -> None:
        self.answer(302)

    def oversize(self, argument: str) -> None:
        self.answer(200, bytes(int(argument)))

    def endless(self, _argument: str) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        sent = 0
        while sent < 50_000_000:
            sent += self.wfile.write(bytes(65_536))

    def packed(self, _argument: str) -> None:
        self.answer(200, gzip.compress(PICTURE), Content_Encoding="gzip")

    def bomb(self, _argument: str) -> None:
        self.answer(200, gzip.compress(bytes(20_000_000), 9), Content_Encoding="gzip")

    def packed_twice(self, _argument: str) -> None:
        body = gzip.compress(gzip.compress(PICTURE))
        self.answer(200, body, Content_Encoding="gzip, gzip")

    def length(self, argument: str) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "9" * int(argument))
        self.end_headers()

    def deflate_bomb(self, _argument: str) -> None:
        self.answer(200, zlib.compress(bytes(20_000_000), 9), Content_Encoding="deflate")

    def nonsense(self, _argument: str) -> None:
        self.answer(200, b"this is not gzip", Content_Encoding="gzip")

    def silent(self, _argument: str) -> None:
        self.close_connection = True
        self.server.stopped.wait(5)  # type: ignore[attr-defined]  # set by the fixture

    def drip(self, _argument: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.trickle(b"x")

    def drip_head(self, _argument: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self.trickle(b"x")

    def trickle(self, byte: bytes) -> None:
        self.close_connection = True
        for _ in range(100):
            self.wfile.write(byte)
            self.wfile.flush()
            if self.server.stopped.wait(0.05):  # type: ignore[attr-defined]  # set by the fixture
                return

    def cut(self, _argument: str) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")

    def garbage(self, _argument: str) -> None:
        self.close_connection = True
        self.wfile.write(b"\x00\x01\x02 hello\r\n\r\n")

    def long_head(self, _argument: str) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Stay silent."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stopped = threading.Event()
        self.connections = 0
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0

    def get_request(self) -> object:  # type: ignore[override]  # only counted on the way through
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what is tested."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.stopped.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def root(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    with Fetcher(FetchPolicy(allow_private=True)) as ready:
        yield ready


@pytest.fixture
def hasty() -> Iterator[Fetcher]:
    policy = FetchPolicy(allow_private=True, read_timeout=0.3, total_timeout=1)
    with Fetcher(policy) as ready:
        yield ready


@pytest.mark.parametrize("path", ["picture", "packed", "redirect/1", "redirect/3"])
def test_a_picture_arrives(fetcher: Fetcher, root: str, path: str) -> None:
    """The bytes are those of the server, also packed and behind up to three redirects."""
    assert fetcher.fetch(f"{root}/{path}", name="a", max_bytes=LIMIT) == PICTURE


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("redirect/4", "more than 3 redirects"),
        ("loop", "more than 3 redirects"),
        ("lost", "302 Found without an address"),
    ],
)
def test_redirects_come_to_an_end(fetcher: Fetcher, root: str, path: str, words: str) -> None:
    """A fourth redirect, a loop, or one to nowhere fails, and nobody tries it again."""
    with pytest.raises(DownloadFailed, match=words) as caught:
        fetcher.fetch(f"{root}/{path}", name="a", max_bytes=LIMIT)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("status", "words", "retryable"),
    [
        (400, "400 Bad Request", False),
        (401, "401 Unauthorized", False),
        (403, "403 Forbidden", False),
        (404, "404 Not Found", False),
        (410, "410 Gone", False),
        (408, "408 Request Timeout", True),
        (429, "429 Too Many Requests", True),
        (500, "500 Internal Server Error", True),
        (503, "503 Service Unavailable", True),
        (599, "599", True),
    ],
)
def test_refusals_are_told_in_words(
    fetcher: Fetcher, root: str, status: int, words: str, retryable: bool
) -> None:
    """The status is in the message, and says whether another attempt may help, and when."""
    with pytest.raises(DownloadFailed, match=words) as caught:
        fetcher.fetch(f"{root}/status/{status}", name="a", max_bytes=LIMIT)
    assert caught.value.image == "a"
    assert caught.value.retryable is retryable
    assert caught.value.retry_after == (7 if retryable else None)


@pytest.mark.parametrize(("asked", "wait"), [("99999999999999", LONGEST_WAIT), ("9" * 400, None)])
def test_absurd_waits(fetcher: Fetcher, root: str, asked: str, wait: float | None) -> None:
    """No picture server holds a job for longer than an hour, nor crashes its attempt."""
    with pytest.raises(DownloadFailed) as caught:
        fetcher.fetch(f"{root}/status/503/{asked}", name="a", max_bytes=LIMIT)
    assert caught.value.retry_after == wait


@pytest.mark.parametrize("path", [f"oversize/{LIMIT + 1}", "endless", "bomb", "deflate_bomb"])
def test_too_many_bytes_are_not_taken(fetcher: Fetcher, root: str, path: str) -> None:
    """The limit holds for announced, endless and packed bodies."""
    with pytest.raises(TooLarge, match="larger than 100,000 bytes") as caught:
        fetcher.fetch(f"{root}/{path}", name="a", max_bytes=LIMIT)
    assert caught.value.image == "a"


def test_packed_twice_is_refused(fetcher: Fetcher, root: str) -> None:
    """Layers of packing, of which a few bytes could take minutes, are not taken off."""
    with pytest.raises(DownloadFailed, match="can't be unpacked"):
        fetcher.fetch(f"{root}/packed_twice", name="a", max_bytes=LIMIT)


@pytest.mark.parametrize(("digits", "error"), [(20, TooLarge), (5000, DownloadFailed)])
def test_absurd_lengths(
    fetcher: Fetcher, root: str, digits: int, error: type[VisionqError]
) -> None:
    """An announced length of any size is an error of the download, not of visionq."""
    with pytest.raises(error):
        fetcher.fetch(f"{root}/length/{digits}", name="a", max_bytes=LIMIT)


def test_the_limit_itself_is_allowed(fetcher: Fetcher, root: str) -> None:
    """A body of exactly the limit passes."""
    body = fetcher.fetch(f"{root}/oversize/{LIMIT}", name="a", max_bytes=LIMIT)
    assert len(body) == LIMIT


@pytest.mark.parametrize("path", ["silent", "drip", "drip_head"])
def test_slow_servers_are_left(hasty: Fetcher, root: str, path: str) -> None:
    """Silence ends by the read timeout; a byte now and then, by the limit on the whole download."""
    began = time.monotonic()
    with pytest.raises(DownloadFailed, match="in time") as caught:
        hasty.fetch(f"{root}/{path}", name="a", max_bytes=LIMIT)
    assert caught.value.retryable
    assert time.monotonic() - began < 4


def test_a_body_that_drips_is_given_up(root: str) -> None:
    """A body slower than the least rate ends long before the limit on the whole download."""
    policy = FetchPolicy(allow_private=True, least_rate_after=0.3)
    began = time.monotonic()
    with (
        Fetcher(policy) as fetcher,
        pytest.raises(DownloadFailed, match="bytes a second") as caught,
    ):
        fetcher.fetch(f"{root}/drip", name="a", max_bytes=LIMIT)
    assert caught.value.retryable
    assert time.monotonic() - began < 4


def test_waiting_for_memory_is_no_drip(root: str) -> None:
    """The worker's own waits are not held against the server."""
    policy = FetchPolicy(allow_private=True, least_rate_after=1, least_rate=1_000_000)
    with Fetcher(policy) as fetcher:
        body = fetcher.fetch(
            f"{root}/oversize/{LIMIT}",
            name="a",
            max_bytes=LIMIT,
            reserve=lambda _: time.sleep(1.5),
        )
    assert len(body) == LIMIT


def test_downloads_of_a_job_end_together(root: str) -> None:
    """The slow pictures of one job have a limit in common; the next job has its own."""
    policy = FetchPolicy(allow_private=True, job_timeout=1, job_timeout_each=0.1)
    began = time.monotonic()
    with Fetcher(policy) as fetcher:
        with fetcher.job(3):
            for _ in range(3):
                with pytest.raises(DownloadFailed, match="in time"):
                    fetcher.fetch(f"{root}/drip", name="a", max_bytes=LIMIT)
        assert time.monotonic() - began < 4
        with fetcher.job(1):
            assert fetcher.fetch(f"{root}/picture", name="a", max_bytes=LIMIT) == PICTURE


@pytest.mark.parametrize("path", ["cut", "garbage", "nonsense", "long_head"])
def test_broken_answers_are_failed_downloads(fetcher: Fetcher, root: str, path: str) -> None:
    """Any reply that a server breaks off or makes up is one kind of error, which may pass."""
    with pytest.raises(DownloadFailed) as caught:
        fetcher.fetch(f"{root}/{path}", name="a", max_bytes=LIMIT)
    assert caught.value.retryable


def test_nobody_listening_is_a_failed_download(fetcher: Fetcher) -> None:
    """A refused connection may be tried again."""
    with pytest.raises(DownloadFailed, match="can't be reached") as caught:
        fetcher.fetch("http://127.0.0.1:1/", name="a", max_bytes=LIMIT)
    assert caught.value.retryable


def test_loopback_is_closed_by_default(server: Server, root: str) -> None:
    """Without the operator's leave no connection reaches a server of one's own machine."""
    with Fetcher(FetchPolicy()) as guarded:
        for url in (f"{root}/picture", root.replace("127.0.0.1", "localhost") + "/picture"):
            with pytest.raises(UnsafeUrl):
                guarded.fetch(url, name="a", max_bytes=LIMIT)
    assert server.connections == 0


def test_all_threads_share_one_fetcher(server: Server, root: str) -> None:
    """Many threads get their pictures through few connections, and failures do not use them up."""
    shared = Fetcher(FetchPolicy(allow_private=True, max_connections=4))
    paths = ["picture", "status/404", f"oversize/{LIMIT + 1}", "picture"] * 25

    def get(path: str) -> bytes | str:
        try:
            return shared.fetch(f"{root}/{path}", name="a", max_bytes=LIMIT)
        except (DownloadFailed, TooLarge) as error:
            return error.code

    with shared, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(get, paths))
    assert found == [PICTURE, "download_failed", "too_large", PICTURE] * 25
    assert server.connections < len(paths)


def test_one_host_is_not_stormed(server: Server, root: str) -> None:
    """However many threads ask, a host gets no more downloads at a time than it should bear."""
    policy = FetchPolicy(allow_private=True, max_connections_per_host=2)
    with Fetcher(policy) as polite, ThreadPoolExecutor(12) as pool:
        urls = [f"{root}/counted"] * 12
        found = list(pool.map(lambda url: polite.fetch(url, name="a", max_bytes=LIMIT), urls))
        assert len(polite._hosts) == 0
    assert found == [PICTURE] * 12
    assert server.most_at_once == 2


def test_a_slow_host_does_not_keep_others_waiting_for_ever(root: str) -> None:
    """Waiting for one's turn at a host ends with the time of the download."""
    policy = FetchPolicy(allow_private=True, max_connections_per_host=1, total_timeout=0.5)
    with Fetcher(policy) as polite, ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        slow = [
            pool.submit(polite.fetch, f"{root}/silent", name="a", max_bytes=LIMIT) for _ in range(2)
        ]
        for one in slow:
            with pytest.raises(DownloadFailed):
                one.result()
    assert time.monotonic() - began < 4


def test_the_file_system_is_out_of_reach(fetcher: Fetcher) -> None:
    """A file URL is refused also where private addresses are allowed."""
    with pytest.raises(UnsafeUrl):
        fetcher.fetch("file:///etc/passwd", name="a", max_bytes=LIMIT)
