"""Why a call failed, in the provider's words: read from whatever shape the body has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from worker.provider.reply import Reply

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
    """Who speaks: OpenAI's `error`, ProxyAPI's `detail`, or something that is neither."""

    ERROR = "error"
    DETAIL = "detail"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Reason:
    """What the body says. `text` is public: short, without keys or picture bytes."""

    where: Where
    text: str
    code: str | None = None
    type: str | None = None
    param: str | None = None


def read_reason(reply: Reply) -> Reason:
    """Read `error`, else `detail`, else the bare text."""
    body = reply.json
    if isinstance(body, dict):
        if body.get("error"):
            return _from_error(body["error"])
        if body.get("detail"):
            return Reason(Where.DETAIL, public(_detail(body["detail"])))
    return Reason(Where.NOWHERE, _raw(reply))


def public(text: str) -> str:
    """Return the text on one line, cut to 300 characters, without keys and picture bytes."""
    text = _PICTURE.sub("data:…", text[:_BYTES_LOOKED_AT])
    text = _KEY.sub("sk-…", _ENCODED.sub("…", text))
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _from_error(error: object) -> Reason:
    if not isinstance(error, dict):
        return Reason(Where.ERROR, public(_flat(error)))
    code, kind, message = (_string(error.get(name)) for name in ("code", "type", "message"))
    said = ": ".join(part for part in (code or kind, message) if part)
    return Reason(
        Where.ERROR,
        public(said or _flat(error)),
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
    """Say one entry of the list that validators such as FastAPI's give."""
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
