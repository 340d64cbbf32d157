"""The scripts as text, and one call of a script as a value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from visionq.names import keys_as_lua

if TYPE_CHECKING:
    from collections.abc import Callable

T_co = TypeVar("T_co", covariant=True)

#: One for each transition of a job; `gate`, `limits` and `budget`, by which operators steer, the
#: last of them also to read the books; `pace` reads; by `replay` one job takes another's place, and
#: `forget` is for ends that were written down; the last four are the way of an event to a webhook.
SCRIPTS: Final = (
    *("submit", "dispatch", "claim", "renew", "admit", "finish", "cancel"),
    *("gate", "limits", "budget", "pace", "replay", "forget"),
    *("announce", "claim_delivery", "finish_delivery", "redeliver"),
)
#: What they share, each part knowing those before it.
_SHARED: Final = (
    *("metrics", "base", "hands", "lanes", "books", "waiters", "money", "slots", "pace", "gates"),
    *("leads", "failures", "deliveries", "ending", "usage"),
)
#: Most jobs that one call of a script may touch: Redis serves nobody else meanwhile.
MOST_PER_SCRIPT: Final = 500


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One call of a script, not yet made: the same for sync and async clients.

    `arguments` follow the time, which whoever makes the call puts first.
    """

    script: str
    arguments: tuple[str | int | bytes, ...]
    read: Callable[[Any], T_co]


@cache
def script_text(name: str) -> str:
    """Return the script behind the names of all keys and the functions that the scripts share."""
    lua = files("visionq.ledger") / "lua"
    shared = [(lua / "shared" / f"{part}.lua").read_text() for part in _SHARED]
    return "\n".join([keys_as_lua(), *shared, (lua / f"{name}.lua").read_text()])
