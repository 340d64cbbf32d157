"""The scripts as text, and one call of a script as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from visionq.blobs import scripts as of_blobs
from visionq.blobs.scripts import tenants_text
from visionq.names import keys_as_lua

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

T_co = TypeVar("T_co", covariant=True)

#: One for each transition of a job; `gate`, `limits`, `budget` and `settle`, by which operators
#: steer, `budget` also to read the books; `rate_limit` and `states` read; by `replay` one job takes
#: another's place; `forget` is for ends that were written down, `resume` for what somebody decides,
#: `block` for what Redis refuses to write; the last four are the way of an event to a webhook.
SCRIPTS: Final = (
    *("submit", "dispatch", "claim", "renew", "admit", "finish", "cancel"),
    *("gate", "limits", "budget", "settle", "rate_limits", "states"),
    *("replay", "forget", "resume", "block"),
    *("announce", "claim_delivery", "finish_delivery", "redeliver"),
)
#: What they share, each part knowing those before it.
_SHARED: Final = (
    *("metrics", "base", "labels", "unsent", "lanes", "books", "waiters", "money", "slots"),
    *("rate_limit", "gates", "outages", "single_flight", "failures", "deliveries", "ending"),
    "usage",
)
#: A function, or a number or text, at the top of a shared part.
_DEFINITION: Final = re.compile(
    r"^local function (?P<function>\w+)\(.*?^end\n|^local (?P<constant>[A-Z_]+) = [^{\n]+\n",
    re.DOTALL | re.MULTILINE,
)
#: Such a number or text, with what is said of it, and the places where its name may stand.
_CONSTANT: Final = re.compile(
    r"^local (?P<name>[A-Z_]+) = (?P<value>[^{\n]+?)(?: *--.*)?\n", re.MULTILINE
)
_NAME_IN_CODE: Final = re.compile(r"'[^'\n]*'|--.*|\b[A-Z_]+\b")
_WORD: Final = re.compile(r"\w+")
_COMMENT: Final = re.compile(r"--.*")
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
    """Return the script behind the names of all keys and what it uses of the shared definitions.

    Redis makes each function of a script anew at each call: all of them cost more than a claim.
    """
    lua = files("visionq.ledger") / "lua"
    parts = {part: (lua / "shared" / f"{part}.lua").read_text() for part in _SHARED}
    shared = "\n".join((parts.pop("metrics"), parts.pop("base"), tenants_text(), *parts.values()))
    own = (lua / f"{name}.lua").read_text()
    used = _used(shared, own)
    shared = _DEFINITION.sub(lambda found: found[0] if _name(found) in used else "", shared)
    code = _inlined(f"{shared}\n{own}")
    return f"{keys_as_lua(_words(code))}\n{code}"


def load_missing(redis: Redis) -> int:
    """Load the scripts of this release that Redis lacks, and return their number."""
    texts = [script_text(name) for name in SCRIPTS]
    texts += [of_blobs.script_text(name) for name in of_blobs.SCRIPTS]
    there: Any = redis.script_exists(*(redis.register_script(text).sha for text in texts))
    missing = [text for text, is_there in zip(texts, there, strict=True) if not is_there]
    for text in missing:
        redis.script_load(text)
    return len(missing)


def _inlined(code: str) -> str:
    """Write constants out where they are used: Lua takes 200 locals in a script, and no more."""
    values = {found["name"]: f"({found['value']})" for found in _CONSTANT.finditer(code)}
    return _NAME_IN_CODE.sub(lambda found: values.get(found[0], found[0]), _CONSTANT.sub("", code))


def _used(shared: str, own: str) -> set[str]:
    """Return every word that the script says, or a shared definition that it uses."""
    definitions = {_name(found): found[0] for found in _DEFINITION.finditer(shared)}
    new = _words(_DEFINITION.sub("", shared) + own)
    used: set[str] = set()
    while new:
        used |= new
        told = "\n".join(definitions.get(word, "") for word in new)
        new = _words(told) - used
    return used


def _name(found: re.Match[str]) -> str:
    return found["function"] or found["constant"]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(_COMMENT.sub("", text)))
