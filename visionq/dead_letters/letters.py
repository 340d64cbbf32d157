"""What is known of a dead letter."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

#: Characters kept of what foreign messages say of themselves.
_LONGEST_NAME: Final = 200


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


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter, without its content."""

    id: str
    reason: str
    detail: str
    queue: str
    received_at: datetime
    task: str
    task_id: str
    origin: str
    #: Bytes of the message as it came, and as it is kept: less if it was too large to keep.
    bytes: int
    kept_bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether it can be sent again."""
        return self.kept_bytes == self.bytes

    def to_public(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "id": self.id,
            "reason": self.reason,
            "detail": self.detail,
            "queue": self.queue,
            "received_at": self.received_at.isoformat().replace("+00:00", "Z"),
            "task": self.task or None,
            "task_id": self.task_id or None,
            "origin": self.origin or None,
            "bytes": self.bytes,
            "replayable": self.is_whole,
        }


def read_letter(letter_id: str, fields: dict[str, str]) -> DeadLetter:
    """Return a letter from its stored fields."""
    return DeadLetter(
        id=letter_id,
        reason=fields["reason"],
        detail=fields["detail"],
        queue=fields["queue"],
        received_at=datetime.fromtimestamp(int(fields["received"]) / 1000, UTC),
        task=fields["task"],
        task_id=fields["task_id"],
        origin=fields["origin"],
        bytes=int(fields["bytes"]),
        kept_bytes=int(fields["kept_bytes"]),
    )


def clean(text: object) -> str:
    """Return a text of a message, short and on one line; nothing for another type."""
    return " ".join(text.split())[:_LONGEST_NAME] if isinstance(text, str) else ""
