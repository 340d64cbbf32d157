"""What came back over HTTP, free of the library that fetched it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_REQUEST_ID: Final = 128
#: Digits, more than any number of a reply has that means something.
_MOST_DIGITS: Final = 30


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
            return json.loads(self.body, parse_int=_whole)
        except (ValueError, RecursionError):
            return None

    @property
    def request_id(self) -> str | None:
        """What the provider's support asks for (`x-request-id`, docs/logs, 2026)."""
        return self.headers.get("x-request-id", "")[:_LONGEST_REQUEST_ID] or None


def _whole(digits: str) -> int:
    """Return the number, or one as absurd: Python reads no more than some thousand digits."""
    return int(digits[:_MOST_DIGITS])
