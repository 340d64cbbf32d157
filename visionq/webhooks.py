"""Webhooks: the address that gets the events of a tenant's jobs, and the secrets that sign them.

One address for each tenant. Secrets and addresses are in a key that the ledger's scripts do not
read, so that a producer's Redis user can't see them.
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

#: OpenAI's names.
EVENTS: Final = (
    "response.completed", "response.failed", "response.incomplete", "response.cancelled",
    "batch.completed", "batch.failed", "batch.expired", "batch.cancelled",
)  # fmt: skip
_SECRET_BYTES: Final = 32
_LONGEST_URL: Final = 2_048


class Secret(Document):
    """A secret that signs events, and its end; None: until it is replaced."""

    value: str = Field(repr=False)
    until: AwareDatetime | None = None


class Webhook(Document):
    """The address of a tenant."""

    #: New for each address.
    id: str
    tenant: TenantName
    url: str
    events: tuple[str, ...]
    created_at: AwareDatetime
    #: The current one first.
    secrets: tuple[Secret, ...]

    def secrets_at(self, now: datetime) -> list[str]:
        """Return the secrets that sign an event at `now`."""
        return [one.value for one in self.secrets if one.until is None or one.until > now]


def set_webhook(
    redis: Redis, tenant: str, url: str, events: tuple[str, ...] = EVENTS
) -> tuple[Webhook, bool]:
    """Set or enable the webhook of a tenant.

    Return the webhook, and whether its secret is new: a new address keeps the secret.

    Raises:
        ValueError: the address can't be called.
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
    """Add a new secret; the old ones sign events for `overlap` too.

    Return None if the tenant has no webhook.
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
    """Remove a webhook, with undelivered events; return whether it existed."""
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
    """Check the form of an address; its host is checked at the call.

    Raises:
        ValueError: it is malformed.
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
    """Change a webhook in a transaction, so that concurrent changes do not get lost."""
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
    # A newer release may have written more fields.
    return Webhook.model_validate_json(text, extra="ignore")
