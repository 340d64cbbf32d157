"""Webhooks: whom the ends of a tenant's jobs are told, and by which secrets that is signed.

One address for each tenant. The secrets stand apart from what the ledger's scripts read, so that a
producer's Redis user sees neither secret nor address.
"""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic import AwareDatetime, Field

from visionq.contract.base import Document, TenantName
from visionq.names import WEBHOOK_EVENTS, WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from redis.client import Pipeline

#: As OpenAI names them.
EVENTS: Final = (
    "response.completed", "response.failed", "response.incomplete", "response.cancelled",
    "batch.completed", "batch.failed", "batch.expired", "batch.cancelled",
)  # fmt: skip
_SECRET_BYTES: Final = 32
_LONGEST_URL: Final = 2_048


class Secret(Document):
    """What events are signed by, and until when; None: until it is replaced."""

    value: str = Field(repr=False)
    until: AwareDatetime | None = None


class Webhook(Document):
    """The address of a tenant."""

    #: Another one for each address.
    id: str
    tenant: TenantName
    url: str
    events: tuple[str, ...]
    created_at: AwareDatetime
    #: The present one first.
    secrets: tuple[Secret, ...]

    def secrets_at(self, now: datetime) -> list[str]:
        """Return those by which an event is signed now."""
        return [one.value for one in self.secrets if one.until is None or one.until > now]


def set_webhook(
    redis: Redis, tenant: str, url: str, events: tuple[str, ...] = EVENTS
) -> tuple[Webhook, bool]:
    """Have the ends of a tenant's jobs told to an address, also again after it was disabled.

    Returns the webhook and whether its secret is new: an address that changes keeps it.

    Raises:
        ValueError: the address is none that could be called.
    """
    check_address(url)

    def change(known: Webhook | None) -> Webhook:
        return Webhook(
            id=known.id if known and known.url == url else f"we_{secrets.token_hex(12)}",
            tenant=tenant,
            url=url,
            events=tuple(event for event in EVENTS if event in events),
            created_at=known.created_at if known else datetime.now(UTC),
            secrets=known.secrets if known else (_new_secret(),),
        )

    before, after = _change(redis, tenant, change)
    return after, before is None


def rotate_secret(redis: Redis, tenant: str, overlap: timedelta) -> Webhook | None:
    """Make a new secret; for `overlap` events are signed by the old ones too.

    Returns None where the tenant has no webhook.
    """

    def change(known: Webhook | None) -> Webhook:
        if known is None:
            raise LookupError(tenant)
        now = datetime.now(UTC)
        end = now + overlap
        old = (Secret(value=one.value, until=min(one.until or end, end)) for one in known.secrets)
        left = tuple(one for one in old if one.until and one.until > now)
        return known.model_copy(update={"secrets": (_new_secret(), *left)})

    try:
        return _change(redis, tenant, change, enable=False)[1]
    except LookupError:
        return None


def remove_webhook(redis: Redis, tenant: str) -> bool:
    """Tell nobody any more, also of what waits; returns whether there was a webhook."""
    with redis.pipeline() as pipeline:
        pipeline.hdel(WEBHOOK_EVENTS, tenant)
        pipeline.hdel(WEBHOOKS, tenant)
        _, removed = pipeline.execute()
    return bool(removed)


def find_webhook(redis: Redis, tenant: str) -> Webhook | None:
    """Return a tenant's webhook, or None."""
    stored: Any = redis.hget(WEBHOOKS, tenant)
    return _parsed(stored) if stored else None


def list_webhooks(redis: Redis) -> list[tuple[Webhook, bool]]:
    """Return all webhooks by tenant, and whether each is enabled."""
    stored: dict[Any, Any] = redis.hgetall(WEBHOOKS)
    enabled: list[Any] = redis.hkeys(WEBHOOK_EVENTS)
    return [(_parsed(text), tenant in enabled) for tenant, text in sorted(stored.items())]


def check_address(url: str) -> None:
    """Refuse what could not be called; where it leads is looked at when it is called.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_whole = False
    if not is_whole or len(url) > _LONGEST_URL or not url.isprintable() or " " in url:
        raise ValueError("an address begins with https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address with a user name or password is not called")


def _change(
    redis: Redis,
    tenant: str,
    change: Callable[[Webhook | None], Webhook],
    *,
    enable: bool = True,
) -> tuple[Webhook | None, Webhook]:
    """Replace a webhook by what `change` makes of it, whoever else does so at the same time."""
    result: list[tuple[Webhook | None, Webhook]] = []

    def transact(pipeline: Pipeline) -> None:
        stored: Any = pipeline.hget(WEBHOOKS, tenant)
        before = _parsed(stored) if stored else None
        after = change(before)
        result[:] = [(before, after)]
        pipeline.multi()
        pipeline.hset(WEBHOOKS, tenant, after.to_json())
        if enable:
            pipeline.hset(WEBHOOK_EVENTS, tenant, " ".join((after.id, *after.events)))

    redis.transaction(transact, WEBHOOKS)
    return result[0]


def _new_secret() -> Secret:
    text = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    return Secret(value=f"whsec_{text}")


def _parsed(text: bytes) -> Webhook:
    # A newer release may have written more than this one knows of.
    return Webhook.model_validate_json(text, extra="ignore")
