"""The provider's HTTP reply: body, error, rate-limit headers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from worker.retry_after import duration

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
        return parse_json(self.body)

    @property
    def request_id(self) -> str | None:
        """The id that the provider's support asks for (`x-request-id`, docs/logs, 2026)."""
        return self.headers.get("x-request-id", "")[:_LONGEST_REQUEST_ID] or None


def parse_json(text: bytes) -> object:
    """Return the value of a JSON text; `None` if it is none."""
    try:
        return json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> int:
    """Return the number, or one as absurd: Python reads no more than some thousand digits."""
    return int(digits[:_MOST_DIGITS])


_LONGEST_TEXT: Final = 300
#: Enough of a page to find its title.
_BYTES_LOOKED_AT: Final = 8192
_FIELDS_NAMED: Final = 3

_PICTURE: Final = re.compile(r"data:[\w.+-]*/[\w.+-]*;base64,[\w+/=-]*")
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/=_-]{120,}")
_KEY: Final = re.compile(r"\bsk-[\w*.-]{6,}")
#: The first title; what repeats never gives anything back, so that nothing is looked at twice.
_TITLE: Final = re.compile(
    r"(?:(?!<title).)*+<title[^>]*+>(?P<title>(?:(?!</title).)*+)</title", re.IGNORECASE | re.DOTALL
)
_PAGE: Final = re.compile(r"^\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)


class Where(StrEnum):
    """The form of a body: OpenAI's `error`, ProxyAPI's `detail`, or neither."""

    ERROR = "error"
    DETAIL = "detail"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class ErrorFields:
    """The error in a body. `text` is public: short, without keys or picture bytes."""

    where: Where
    text: str
    code: str | None = None
    type: str | None = None
    param: str | None = None


def read_reason(reply: Reply) -> ErrorFields:
    """Read `error`, else `detail`, else the bare text."""
    body = reply.json
    if isinstance(body, dict):
        if body.get("error"):
            return _from_error(body["error"])
        if body.get("detail"):
            return ErrorFields(Where.DETAIL, public(_detail(body["detail"])))
    return ErrorFields(Where.NOWHERE, _raw(reply))


def public(text: str) -> str:
    """Return the text on one line, cut to 300 characters, without keys and picture bytes."""
    text = _PICTURE.sub("data:…", text[:_BYTES_LOOKED_AT])
    text = _KEY.sub("sk-…", _ENCODED.sub("…", text))
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _from_error(error: object) -> ErrorFields:
    if not isinstance(error, dict):
        return ErrorFields(Where.ERROR, public(_flat(error)))
    code, kind, message = (_string(error.get(name)) for name in ("code", "type", "message"))
    summary = ": ".join(part for part in (code or kind, message) if part)
    return ErrorFields(
        Where.ERROR,
        public(summary or _flat(error)),
        code=code,
        type=kind,
        param=_string(error.get("param")),
    )


def _string(value: object) -> str | None:
    # Some gateways write the status, a number, where OpenAI writes a code.
    return str(value) if value and isinstance(value, str | int) else None


def _detail(detail: object) -> str:
    if isinstance(detail, list):
        return "; ".join(_field(item) for item in detail[:_FIELDS_NAMED])
    return _flat(detail)


def _field(item: object) -> str:
    """Format one entry of a validation error list such as FastAPI's."""
    if not isinstance(item, dict) or "msg" not in item:
        return _flat(item)
    place = item.get("loc")
    path = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    return f"{path}: {item['msg']}" if path else str(item["msg"])


def _flat(value: Any) -> str:  # noqa: ANN401  # any JSON value
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _raw(reply: Reply) -> str:
    text = reply.body[:_BYTES_LOOKED_AT].decode("utf-8", "replace")
    if not text.strip():
        return "an empty body"
    if _PAGE.match(text):
        title = _TITLE.match(text)
        return public(f"an HTML page, “{title['title'].strip()}”") if title else "an HTML page"
    return public(text)


#: Seconds. A limit that is used up for longer is asked after all the same.
_LONGEST_RESET: Final = 60.0
#: For a minute; what is beyond says nothing of a limit.
_LEAST_LIMIT: Final = 0.001
_MOST_LIMIT: Final = 1e9


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """Limits for a minute, where the headers name them."""

    requests: float | None = None
    tokens: float | None = None
    #: Seconds until a limit that is used up is whole again.
    reset: float | None = None


def read_rate_limit_headers(headers: Mapping[str, str]) -> RateLimitHeaders:
    """Read `x-ratelimit-limit-…`, `-remaining-…` and `-reset-…`; names in lower case."""
    resets = [
        duration(headers.get(f"x-ratelimit-reset-{kind}", ""), _LONGEST_RESET)
        for kind in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{kind}", "")) == 0
    ]
    known = [reset for reset in resets if reset is not None]
    return RateLimitHeaders(
        requests=_limit(headers, "requests"),
        tokens=_limit(headers, "tokens"),
        reset=max(known, default=None),
    )


def _limit(headers: Mapping[str, str], kind: str) -> float | None:
    limit = _number(headers.get(f"x-ratelimit-limit-{kind}", ""))
    return limit if limit is not None and _LEAST_LIMIT <= limit <= _MOST_LIMIT else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
