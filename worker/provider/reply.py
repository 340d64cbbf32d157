"""What came back over HTTP, free of the library that fetched it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_REQUEST_ID: Final = 128


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, read to its end."""

    status: int
    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def json(self) -> object:
        """The body as JSON; `None` where it is a page, empty or cut."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def request_id(self) -> str | None:
        """What the provider's support asks for (`x-request-id`, docs/logs, 2026)."""
        return self.headers.get("x-request-id", "")[:_LONGEST_REQUEST_ID] or None
