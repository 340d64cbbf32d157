"""Flower's web application with a second door, for guests who may look and touch nothing."""

from __future__ import annotations

import base64
import binascii
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from flower.app import Flower  # type: ignore[import-untyped]  # no annotations
from tornado.web import RequestHandler

from monitoring.flower.masking import SilentInspector
from visionq.http_checks import nonce_headers

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest


class _Health(RequestHandler):
    """Reports that this process responds, and which stack it belongs to."""

    def get(self) -> None:
        """Answer anybody: there is nothing to see."""
        for name, value in nonce_headers().items():
            self.set_header(name, value)
        self.finish({"status": "ok"})


class FlowerWithGuests(Flower):  # type: ignore[misc]  # likewise
    """The operator's Flower, and beside it one with `read_only` set for guests.

    Flower knows `read_only` only for a whole application. So there are two, with one memory: each
    takes one user's password, and the name that a request gives decides which of them is asked.
    """

    def __init__(self, *, guest: str | None = None, **settings: Any) -> None:  # noqa: ANN401  # Flower's
        """Take `guest` as `user:password`; without it there is no second door."""
        super().__init__(**settings)
        self.add_handlers(".*", [("/healthz", _Health)])
        patience = self.options.inspect_timeout / 1000
        self.inspector = SilentInspector(self.io_loop, self.capp, patience)
        self._guest_user = None
        if guest is not None:
            self._guest_user = guest.partition(":")[0]
            changed = {"read_only": True, "basic_auth": [guest]}
            settings["options"] = SimpleNamespace(**dict(self.options.items()) | changed)
            self._guests = Flower(**settings, events=self.events)
            self._guests.inspector = self.inspector
            self.io_loop.set_default_executor(self.executor)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:  # noqa: ANN401  # Tornado's
        """Return the handler of the request."""
        named = user_of(request.headers.get("Authorization", ""))
        if named is not None and named == self._guest_user:
            return self._guests.find_handler(request, **kwargs)
        return super().find_handler(request, **kwargs)


def user_of(authorization: str) -> str | None:
    """Return the user named by HTTP's basic authentication; the password is not checked."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme != "Basic":
        return None
    try:
        return base64.b64decode(credentials).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return None
