"""A real HTTP server that takes what is posted to it, and answers as it is set."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Receiver:
    url: str = ""
    #: The answer, once the `next_statuses` have been given.
    status: int = 204
    next_statuses: deque[int] = field(default_factory=deque)
    #: Its header, where it is not empty.
    retry_after: str = ""
    #: Seconds until the answer.
    delay: float = 0
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    #: Open requests, and the most of them at one time.
    at_once: int = 0
    most_at_once: int = 0

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]

    def types(self) -> list[str]:
        return [document["type"] for document in self.documents()]


@contextmanager
def receiving() -> Iterator[Receiver]:
    state, lock = Receiver(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                headers = {name.lower(): value for name, value in self.headers.items()}
                state.received.append((headers, body))
                status = state.next_statuses.popleft() if state.next_statuses else state.status
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            time.sleep(state.delay)
            with lock:
                state.at_once -= 1
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", "/elsewhere")
            if state.retry_after:
                self.send_header("retry-after", state.retry_after)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

        def handle(self) -> None:
            try:
                super().handle()
            except (ConnectionResetError, BrokenPipeError):
                """Who sent it is dead."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/events"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state
        server.shutdown()
