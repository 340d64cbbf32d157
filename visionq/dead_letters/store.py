"""Where dead letters are kept, from where they are sent again."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from visionq.dead_letters.letters import BrokerMessage, DeadLetter, clean, read_letter
from visionq.lua import script_text
from visionq.names import DEAD_LETTER, DEAD_LETTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis

_FIELDS: Final = (
    "reason", "detail", "queue", "received", "task", "task_id", "origin", "bytes", "kept_bytes",
)  # fmt: skip
#: Bytes kept of a message that is too large to be kept whole.
_HEAD: Final = 4096
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept; a message of more than half the bytes is not kept whole."""

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
            "reason": clean(reason),
            "detail": clean(detail),
            "queue": message.queue,
            "task": clean(message.task),
            "task_id": clean(message.id),
            "origin": clean(message.origin),
            "bytes": len(message.raw),
            "kept_bytes": len(kept),
            "raw": kept,
        }
        told = clean(message.id) if result else ""
        flat: list[str | int | bytes] = [part for pair in fields.items() for part in pair]
        limits = (bounds.ttl, bounds.letters, bounds.bytes)
        self._keep(args=["", letter_id, *limits, told, result, bounds.ttl, len(kept), *flat])
        return letter_id

    def latest(self) -> Iterator[DeadLetter]:
        """Yield the letters, the latest first."""
        ids = [_id_of(entry) for entry in self._redis.zrevrange(DEAD_LETTERS, 0, -1)]
        for start in range(0, len(ids), _PAGE):
            yield from self.get(ids[start : start + _PAGE]).values()

    def get(self, letter_ids: Sequence[str]) -> dict[str, DeadLetter]:
        """Return those of the letters that there are."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for letter_id in letter_ids:
                pipeline.hmget(DEAD_LETTER + letter_id, _FIELDS)
            replies: list[list[bytes | None]] = pipeline.execute()
        found = {}
        for letter_id, values in zip(letter_ids, replies, strict=True):
            fields = {
                name: value.decode()
                for name, value in zip(_FIELDS, values, strict=True)
                if value is not None
            }
            if len(fields) == len(_FIELDS):
                found[letter_id] = read_letter(letter_id, fields)
        return found

    def raw(self, letter_id: str) -> bytes:
        """Return the message as it came, as far as it is kept."""
        stored: Any = self._redis.hget(DEAD_LETTER + letter_id, "raw")
        return stored if isinstance(stored, bytes) else b""

    def replay(self, letter: DeadLetter, broker: Redis) -> None:
        """Put the message back into its queue, as it came, and forget the letter."""
        broker.lpush(letter.queue, self.raw(letter.id))
        self.drop([letter])

    def drop(self, letters: Sequence[DeadLetter]) -> None:
        """Forget letters."""
        with self._redis.pipeline() as pipeline:
            for letter in letters:
                pipeline.unlink(DEAD_LETTER + letter.id)
                pipeline.zrem(DEAD_LETTERS, f"{letter.id} {letter.kept_bytes}")
            pipeline.execute()


def _id_of(entry: Any) -> str:  # noqa: ANN401  # what redis-py returns: bytes
    name: str = entry.decode().partition(" ")[0]
    return name
