"""A wire that can be cut: a TCP proxy on loopback whose connections are reset on order."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK: Final = 65_536
#: Closing with this sends RST instead of FIN.
_RESET: Final = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes both ways; `reset` ends every connection as a failing network does."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> int:
        """Reset every connection that there is; returns how many."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    end.shutdown(socket.SHUT_RD)  # wakes the thread, which closes it
        return len(pairs)

    def close(self) -> None:
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._pairs.add((near, far))
            threading.Thread(target=self._pass, args=(near, far), daemon=True).start()

    def _pass(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with selectors.DefaultSelector() as selector, near, far:
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            with suppress(OSError):
                while self._pass_some(selector, other):
                    pass
            with self._lock:
                self._pairs.discard((near, far))

    def _pass_some(
        self, selector: selectors.BaseSelector, other: dict[socket.socket, socket.socket]
    ) -> bool:
        for key, _ in selector.select():
            source: socket.socket = key.fileobj  # type: ignore[assignment]
            content = source.recv(_CHUNK)
            if not content:
                return False
            other[source].sendall(content)
        return True


@contextmanager
def running_proxy(target_port: int) -> Iterator[Proxy]:
    proxy = Proxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()
