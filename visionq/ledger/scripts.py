"""The ledger's scripts, and one call of a script as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from visionq import lua
from visionq.ledger.records import (
    Billing,
    DeliveryState,
    GateOrder,
    RefusalReason,
    Verdict,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

T_co = TypeVar("T_co", covariant=True)

#: Most jobs that one call of a script may touch: Redis serves nobody else meanwhile.
MOST_PER_SCRIPT: Final = 500
#: One for each transition of a job, for what operators decide, and for the way to a webhook.
SCRIPTS: Final = lua.script_names("ledger")
#: What a script of the common way replies where it is not the way; it has written nothing then.
OTHER: Final = b"other"
_ENUMS: Final = (RefusalReason, Verdict, Billing, Written, GateOrder, DeliveryState)


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A pending call of a script, the same for sync and async clients.

    `arguments` follow the time, which the caller puts first.
    """

    script: str
    arguments: tuple[str | int | bytes, ...]
    read: Callable[[Any], T_co]
    #: Follows where the script is one of the common way, and replied `OTHER`.
    otherwise: Callable[[], Call[T_co]] | None = None


def milliseconds(seconds: float) -> int:
    """Return seconds as scripts take them."""
    return round(seconds * 1000)


def script_text(name: str) -> str:
    """Return the text of a script, with names of enum members resolved."""
    return lua.script_text(name, _ENUMS)


def load_missing(redis: Redis) -> int:
    """Load the scripts that Redis lacks, such as after a restart; return how many.

    They stay in its memory for those who may not load one.
    """
    texts = [script_text(name) for name in lua.script_names()]
    there: Any = redis.script_exists(*(redis.register_script(text).sha for text in texts))
    missing = [text for text, is_there in zip(texts, there, strict=True) if not is_there]
    for text in missing:
        redis.script_load(text)
    return len(missing)
