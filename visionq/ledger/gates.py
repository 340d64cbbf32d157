"""Read the gates, one for each provider key held by live workers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import AwareDatetime, Field

from visionq.contract.base import Document
from visionq.names import GATE, HOLDS, PROVIDER_KEYS
from visionq.sans_io import run

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    from visionq.sans_io import Steps

#: Scopes of lanes held until the rate limit of their model allows a call.
_RATE_LIMIT: Final = "pace:"
#: The one that tells most about the whole: while any key works, work goes on.
_BEST_FIRST: Final = ("open", "reopening", "closed")


class KeyGate(Document):
    """The gate of one key."""

    #: Names the key without telling it.
    key: str
    state: str = "open"
    reason: str | None = None
    since: AwareDatetime | None = None
    #: Calls that are out, and how many may be while it reopens.
    calls_out: int = 0
    step: int | None = None
    #: When the next trial may be made.
    retry_at: AwareDatetime | None = None


class Gate(Document):
    """The breaker in front of the provider: `open`, `closed` or `reopening`."""

    state: str = "open"
    reason: str | None = None
    since: AwareDatetime | None = None
    keys: tuple[KeyGate, ...] = ()
    #: What else is held: `model:…` or `tenant:…` → why.
    held: dict[str, str] = Field(default_factory=dict)
    #: Models whose lanes are held by their rate limit.
    paced: frozenset[str] = Field(default=frozenset(), exclude=True)


def read_gate(redis: Redis) -> Gate:
    """Return the state of the gates; the best key's state counts for the fleet."""
    return run(ask_for_gate(redis))


def ask_for_gate(redis: Redis | AsyncRedis) -> Steps[Gate]:
    """Queue the reads of `read_gate`, for either kind of client."""
    names: set[Any] = yield redis.smembers(PROVIDER_KEYS)
    replies: dict[str, dict[Any, Any]] = {}
    for name in sorted(name.decode() for name in names):
        replies[name] = yield redis.hgetall(GATE + name)
    keys = tuple(_key_gate(name, reply) for name, reply in replies.items())
    stored: dict[Any, Any] = yield redis.hgetall(HOLDS)
    holds = {scope.decode(): reason.decode() for scope, reason in stored.items()}
    paced = frozenset(
        scope.removeprefix(_RATE_LIMIT) for scope in holds if scope.startswith(_RATE_LIMIT)
    )
    held = {scope: reason for scope, reason in holds.items() if not scope.startswith(_RATE_LIMIT)}
    best = min(keys, key=lambda gate: _BEST_FIRST.index(gate.state), default=KeyGate(key=""))
    return Gate(
        state=best.state,
        reason=best.reason,
        since=best.since,
        keys=keys,
        held=held,
        paced=paced,
    )


def _key_gate(key: str, reply: dict[Any, Any]) -> KeyGate:
    fields = {name.decode(): value.decode() for name, value in reply.items()}
    return KeyGate(
        key=key,
        state=fields.get("state", "open"),
        reason=fields.get("reason") or None,
        since=_moment(fields.get("since")),
        calls_out=int(fields.get("calls_out", 0)),
        step=int(fields["step"]) if fields.get("step") else None,
        retry_at=_moment(fields.get("retry_at")),
    )


def _moment(milliseconds: str | None) -> datetime | None:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC) if milliseconds else None
