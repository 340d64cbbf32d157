"""Messages that no worker can work on: kept with the reason, to be looked at and sent again."""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator, Field

from visionq.contract.base import Document
from visionq.lua import script_text
from visionq.names import DEAD_LETTER, DEAD_LETTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis

#: Characters kept of what foreign messages say of themselves.
_LONGEST_NAME: Final = 200
_FIELDS: Final = (
    "reason", "detail", "queue", "received", "task", "task_id", "origin", "bytes", "kept_bytes",
)  # fmt: skip
#: Bytes kept of a message that is too large to be kept whole.
_HEAD: Final = 4096
_PAGE: Final = 200
#: Bounds of a shown shape.
_MOST_NAMES: Final = 40
_DEEPEST: Final = 3


class Reason(StrEnum):
    """Why a message is a dead letter; one refused for its document has the error's code."""

    NOT_JSON = "not_json"
    """The envelope is no JSON: not written by a Celery client."""
    BROKEN_ENVELOPE = "broken_envelope"
    """JSON, but not what Celery puts around a message: no properties, no address."""
    TOO_LARGE = "message_too_large"
    """Larger than any message that could be a job."""
    NO_TASK = "no_task"
    """No headers, or none that name a task."""
    UNKNOWN_TASK = "unknown_task"
    """It names a task that workers don't have."""
    BROKEN_BODY = "broken_body"
    """The body can't be read as what its headers say."""
    CONTENT_REFUSED = "content_refused"
    """A form that could run code, as pickle: only JSON is read."""
    WRONG_ARGUMENTS = "wrong_arguments"
    """The body is not the arguments of a task, or not of this one."""


@dataclass(frozen=True)
class BrokerMessage:
    """A message as it came from the broker."""

    queue: str
    raw: bytes = field(repr=False)
    task: str = ""
    id: str = ""
    #: Who sent it, as Celery's clients say: `process@host`.
    origin: str = ""


#: What a message says of itself; stored as an empty text where it says nothing.
_Said = Annotated[str | None, BeforeValidator(lambda text: text or None)]


class DeadLetter(Document):
    """A dead letter, without its content."""

    id: str
    reason: str
    detail: str
    queue: str
    received_at: datetime = Field(alias="received")
    task: _Said
    task_id: _Said
    origin: _Said
    #: Bytes of the message as it came, and as it is kept: less if it was too large to keep.
    bytes: int
    kept_bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether it can be sent again."""
        return self.kept_bytes == self.bytes

    def to_public(self) -> dict[str, Any]:
        """Return the output of `--json`."""
        shown = self.model_dump(mode="json", exclude={"kept_bytes"})
        return {**shown, "replayable": self.is_whole}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of kept messages; one above half of the bytes is truncated."""

    letters: int = 1000
    bytes: int = 96_000_000
    #: Seconds.
    ttl: int = 7 * 24 * 3600


class DeadLetters:
    """The list of dead letters, in the ledger's Redis."""

    def __init__(self, redis: Redis, bounds: Bounds | None = None) -> None:
        self._redis = redis
        self._bounds = bounds or Bounds()
        self._keep = redis.register_script(script_text("keep"))

    def keep(self, message: BrokerMessage, reason: str, detail: str = "", result: str = "") -> str:
        """Keep a message; returns the id of its letter.

        `result` is what Celery is to say of the message's task, if nothing else is known of it.
        """
        bounds = self._bounds
        # Of two within a millisecond the later one has the greater name.
        letter_id = f"{time.time_ns() // 1000:x}-{secrets.token_hex(2)}"
        whole = len(message.raw) <= bounds.bytes // 2
        kept = message.raw if whole else message.raw[:_HEAD]
        fields: dict[str, str | int | bytes] = {
            "reason": _clean(reason),
            "detail": _clean(detail),
            "queue": message.queue,
            "task": _clean(message.task),
            "task_id": _clean(message.id),
            "origin": _clean(message.origin),
            "bytes": len(message.raw),
            "kept_bytes": len(kept),
            "raw": kept,
        }
        told = _clean(message.id) if result else ""
        flat: list[str | int | bytes] = [part for pair in fields.items() for part in pair]
        limits = (bounds.ttl, bounds.letters, bounds.bytes)
        self._keep(args=["", letter_id, *limits, told, result, bounds.ttl, len(kept), *flat])
        return letter_id

    def latest(self) -> Iterator[DeadLetter]:
        """Yield the letters, newest first."""
        entries: list[Any] = self._redis.zrevrange(DEAD_LETTERS, 0, -1)
        ids = [entry.decode().partition(" ")[0] for entry in entries]
        for start in range(0, len(ids), _PAGE):
            yield from self.get(ids[start : start + _PAGE]).values()

    def get(self, letter_ids: Sequence[str]) -> dict[str, DeadLetter]:
        """Return the given letters that exist."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for letter_id in letter_ids:
                pipeline.hmget(DEAD_LETTER + letter_id, _FIELDS)
            replies: list[list[bytes | None]] = pipeline.execute()
        found = {}
        for letter_id, values in zip(letter_ids, replies, strict=True):
            fields = [value.decode() for value in values if value is not None]
            if len(fields) == len(_FIELDS):
                letter = {"id": letter_id, **dict(zip(_FIELDS, fields, strict=True))}
                found[letter_id] = DeadLetter.model_validate(letter)
        return found

    def raw(self, letter_id: str) -> bytes:
        """Return the message as received, as far as it is kept."""
        stored: Any = self._redis.hget(DEAD_LETTER + letter_id, "raw")
        return stored if isinstance(stored, bytes) else b""

    def replay(self, letter: DeadLetter, broker: Redis) -> None:
        """Put the message back into its queue, as it came, and forget the letter."""
        broker.lpush(letter.queue, self.raw(letter.id))
        self.drop(letter)

    def drop(self, letter: DeadLetter) -> None:
        """Forget a letter."""
        with self._redis.pipeline() as pipeline:
            pipeline.unlink(DEAD_LETTER + letter.id)
            pipeline.zrem(DEAD_LETTERS, f"{letter.id} {letter.kept_bytes}")
            pipeline.execute()


def _clean(text: object) -> str:
    """Return a text of a message, short and on one line; nothing for another type."""
    return " ".join(text.split())[:_LONGEST_NAME] if isinstance(text, str) else ""


def shape_of(raw: bytes) -> Any:  # noqa: ANN401  # any JSON
    """Return a message with every text and number replaced by its kind and length."""
    try:
        envelope = json.loads(raw)
    except (ValueError, RecursionError):
        return f"{len(raw)} bytes that are no JSON"
    if not isinstance(envelope, dict):
        return _shape(envelope, 0)
    headers = envelope.get("headers")
    return {
        "content_type": _shape(envelope.get("content-type"), 0),
        "headers": sorted(headers)[:_MOST_NAMES] if isinstance(headers, dict) else _shape(headers),
        "properties": "present" if "properties" in envelope else "absent",
        "body": _shape(_body(envelope), 0),
    }


def _body(envelope: dict[str, Any]) -> Any:  # noqa: ANN401  # likewise
    body, properties = envelope.get("body"), envelope.get("properties")
    encoding = properties.get("body_encoding") if isinstance(properties, dict) else None
    try:
        return json.loads(base64.b64decode(body or "") if encoding == "base64" else body or "null")
    except (ValueError, TypeError, RecursionError):
        return body


def _shape(value: Any, depth: int = 0) -> Any:  # noqa: ANN401  # likewise
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    if isinstance(value, dict) and depth < _DEEPEST:
        names = list(value)[:_MOST_NAMES]
        return {name[:_MOST_NAMES]: _shape(value[name], depth + 1) for name in names}
    if isinstance(value, list) and depth < _DEEPEST:
        return [_shape(item, depth + 1) for item in value[:_MOST_NAMES]]
    if isinstance(value, (dict, list)):
        return f"{len(value)} items"
    return "nothing" if value is None else type(value).__name__
