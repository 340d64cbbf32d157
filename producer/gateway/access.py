"""Who may do what: API keys of tenants, of which Redis knows the hash alone."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from pydantic import AwareDatetime

from visionq.contract.base import Document, TenantName
from visionq.names import GATEWAY_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

_SECRET_BYTES: Final = 32
_ID_LETTERS: Final = 12
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


class Scope(StrEnum):
    """What a key is good for."""

    SUBMIT = "submit"
    """Jobs, batches and files may be handed in; the answer that the call waits for comes back."""
    READ = "read"
    """Jobs, answers, batches and files of the tenant may be looked at."""
    OPERATE = "operate"
    """They may be cancelled and deleted."""


class Key(Document):
    """What is known of a key; the key itself is known to its owner alone."""

    id: str
    tenant: TenantName
    name: str = ""
    scopes: frozenset[Scope] = frozenset(Scope)
    created_at: AwareDatetime


def digest_of(secret: str) -> str:
    """Return what stands for a key. It is random and long, so that a plain hash hides it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def describe_key(secret: str, tenant: str, name: str, scopes: Iterable[Scope]) -> Key:
    """Return what is to be known of a key."""
    return Key(
        id=f"key_{digest_of(secret)[:_ID_LETTERS]}",
        tenant=tenant,
        name=name,
        scopes=frozenset(scopes),
        created_at=datetime.now(UTC),
    )


def new_secret() -> str:
    """Return a key that nobody can guess."""
    return f"vq-{secrets.token_urlsafe(_SECRET_BYTES)}"


def add_key(redis: Redis, secret: str, key: Key) -> None:
    """Let the owner of the key in."""
    redis.hset(GATEWAY_KEYS, digest_of(secret), key.to_json())


def list_keys(redis: Redis) -> dict[str, Key]:
    """Return digest → key of all keys, the oldest first."""
    stored: dict[Any, Any] = redis.hgetall(GATEWAY_KEYS)
    keys = {digest.decode(): _parsed(text) for digest, text in stored.items()}
    return dict(sorted(keys.items(), key=lambda item: item[1].created_at))


def revoke_key(redis: Redis, key_id: str) -> bool:
    """Let nobody in by this key any more; returns whether there was one."""
    digests = [digest for digest, key in list_keys(redis).items() if key.id == key_id]
    return bool(digests) and bool(redis.hdel(GATEWAY_KEYS, *digests))


async def find_key(redis: AsyncRedis, secret: str) -> Key | None:
    """Return whose key it is, or None."""
    stored = await redis.hget(GATEWAY_KEYS, digest_of(secret))
    return _parsed(stored) if stored else None


def _parsed(text: bytes | str) -> Key:
    # A newer release may have written more than this one knows of.
    return Key.model_validate_json(text, extra="ignore")


def scope_for(method: str, path: str) -> Scope:
    """Return what a request needs."""
    if method in _SAFE_METHODS:
        return Scope.READ
    if method == "DELETE" or path.endswith("/cancel"):
        return Scope.OPERATE
    return Scope.SUBMIT
