"""The exporter's two pages: `/metrics` for Prometheus, `/healthz` for its supervisor."""

from __future__ import annotations

import socket
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from visionq.http_checks import nonce_headers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from prometheus_client.registry import Collector

_TEXT: Final = [("Content-Type", "text/plain; charset=utf-8")]
#: Seconds after which a silent caller is let go.
_PATIENCE: Final = 10


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SixServer(_Server):
    address_family = socket.AF_INET6


class _SilentHandler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, *args: object) -> None:
        """Log no scrapes."""


def build_app(collector: Collector) -> WSGIApplication:
    """Return the application; nothing but the two pages is found there."""
    # Not the global one: that adds figures of this process, which nobody asks for.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    metrics: WSGIApplication = make_wsgi_app(registry)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/healthz":
            start_response("200 OK", [*_TEXT, *nonce_headers().items()])
            return [b"ok\n"]
        start_response("404 Not Found", _TEXT)
        return [b"see /metrics\n"]

    return app


def make_exporter(app: WSGIApplication, address: str, port: int) -> WSGIServer:
    """Return a server that listens; port 0 takes a free one.

    Raises:
        OSError: the address can't be listened on.
    """
    kind = _SixServer if ":" in address else _Server
    return make_server(address, port, app, server_class=kind, handler_class=_SilentHandler)
