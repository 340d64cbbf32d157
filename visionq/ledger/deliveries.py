"""Deliveries of events, the ends of jobs and batches, to webhooks.

The script that ends a job enters its event, so an event is as safe as the end itself.
`visionq.webhooks` knows whom to tell. Pure functions as in `calls`; the ledgers make the calls.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from visionq.ledger.records import DeliveryState
from visionq.ledger.scripts import Call
from visionq.names import DELIVERIES, DELIVERIES_DUE, DELIVERIES_OUT, DELIVERY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from redis import Redis

    from visionq.ledger.options import LedgerOptions

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class DeliveryClaim:
    """A worker's claim on a delivery; times are seconds since the epoch."""

    id: str
    token: str
    now: float
    tenant: str
    event: str
    #: Id of the job or batch.
    subject: str
    created: float
    first_attempt: float
    #: Attempts before this one.
    attempts: int
    #: The webhook has not been removed or disabled since.
    is_enabled: bool

    def body(self) -> bytes:
        """Return the event in OpenAI's form, byte-identical at every attempt."""
        event = {
            "id": self.id,
            "object": "event",
            "created_at": int(self.created),
            "type": self.event,
            "data": {"id": self.subject},
        }
        return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class DeliveryEnding:
    """The outcome of one attempt."""

    state: DeliveryState
    #: Seconds until the next attempt.
    delay: float = 0
    #: Of the receiver's answer.
    status: int | None = None
    fault: str = ""
    #: The webhook, by its id, that wants to be told no more of anything.
    gone: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event as the delivery log shows it."""

    id: str
    tenant: str
    event: str
    subject: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    #: The latest attempt, and what came of it.
    tried_at: datetime | None
    status: int | None
    fault: str | None = field(repr=False)

    def to_public(self) -> dict[str, Any]:
        """Return the output of `--json`."""
        moments = {
            name: at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None
            for name, at in (("created_at", self.created_at), ("tried_at", self.tried_at))
        }
        return {**asdict(self), "state": self.state.value, **moments}


def announce(tenant: str, event: str, subject: str, seed: str) -> Call[None]:
    """Queue an event for the tenant's webhook; equal `seed`s are one event."""
    return Call("announce", (tenant, event, subject, seed), lambda _: None)


def claim(delivery_id: str, token: str, lease: float) -> Call[DeliveryClaim | None]:
    """Take the event that a hint named; the same token again is the same claim."""

    def read(reply: list[bytes]) -> DeliveryClaim | None:
        kind, *fields = [part.decode() for part in reply]
        if kind == "refused":
            return None
        now, tenant, event, subject, created, first, attempts, enabled = fields
        return DeliveryClaim(
            id=delivery_id,
            token=token,
            now=int(now) / 1000,
            tenant=tenant,
            event=event,
            subject=subject,
            created=int(created) / 1000,
            first_attempt=int(first) / 1000,
            attempts=int(attempts),
            is_enabled=enabled == "1",
        )

    return Call("claim_delivery", (delivery_id, token, round(lease * 1000)), read)


def finish(claim: DeliveryClaim, ending: DeliveryEnding, options: LedgerOptions) -> Call[bool]:
    """Record the outcome of an attempt; return false if another worker holds it."""
    arguments = (
        claim.id,
        claim.token,
        ending.state.value,
        round(ending.delay * 1000),
        "" if ending.status is None else ending.status,
        ending.fault,
        ending.gone,
        options.result_ttl,
        options.finished_kept,
    )
    return Call("finish_delivery", arguments, lambda reply: bool(reply == b"done"))


def redeliver(delivery_ids: Sequence[str]) -> Call[list[str]]:
    """Deliver again, or at once; return each former state, or `missing`."""
    return Call("redeliver", tuple(delivery_ids), lambda reply: [state.decode() for state in reply])


def latest(redis: Redis, tenant: str, most: int) -> list[Delivery]:
    """Return a tenant's deliveries: pending ones first, then the latest that ended."""
    out: list[Any] = redis.zrange(DELIVERIES_OUT, 0, -1)
    ids: Any = out + list(redis.zrange(DELIVERIES_DUE + tenant, 0, most - 1))
    found = _of_tenant(redis, ids, tenant)
    start = 0
    while len(found) < most:
        ids = redis.zrevrange(DELIVERIES, start, start + _PAGE - 1)
        if not ids:
            break
        found += _of_tenant(redis, ids, tenant)
        start += _PAGE
    return found[:most]


def failed_of(redis: Redis, tenant: str) -> Iterator[str]:
    """Yield the ids of a tenant's failed deliveries, oldest first."""
    ids: list[Any] = redis.zrange(DELIVERIES, 0, -1)
    for start in range(0, len(ids), _PAGE):
        for delivery in _of_tenant(redis, ids[start : start + _PAGE], tenant):
            if delivery.state is DeliveryState.FAILED:
                yield delivery.id


def _of_tenant(redis: Redis, ids: Iterable[bytes], tenant: str) -> list[Delivery]:
    wanted = dict.fromkeys(id_.decode() for id_ in ids)
    with redis.pipeline(transaction=False) as pipeline:
        for delivery_id in wanted:
            pipeline.hgetall(DELIVERY + delivery_id)
        replies: list[dict[bytes, bytes]] = pipeline.execute()
    found = (
        _delivery(delivery_id, fields)
        for delivery_id, fields in zip(wanted, replies, strict=True)
        if fields
    )
    return [delivery for delivery in found if delivery.tenant == tenant]


def _delivery(delivery_id: str, stored: dict[bytes, bytes]) -> Delivery:
    fields = {name.decode(): value.decode() for name, value in stored.items()}
    return Delivery(
        id=delivery_id,
        tenant=fields["tenant"],
        event=fields["event"],
        subject=fields["subject"],
        state=DeliveryState(fields["state"]),
        attempts=int(fields.get("attempts", 0)),
        created_at=_moment(fields["created"]),
        tried_at=_moment(fields["tried"]) if "tried" in fields else None,
        status=int(fields["status"]) if fields.get("status") else None,
        fault=fields.get("fault") or None,
    )


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
