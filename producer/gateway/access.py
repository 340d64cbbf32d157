"""API keys of tenants and their scopes; Redis has only hashes of keys."""

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
    """The permissions of a key."""

    SUBMIT = "submit"
    """Submit jobs, batches and files, and get the answer that the call waits for."""
    READ = "read"
    """Read jobs, answers, batches and files of the tenant."""
    OPERATE = "operate"
    """Cancel and delete them."""


class Key(Document):
    """The record of a key; only its owner has the key itself."""

    id: str
    tenant: TenantName
    name: str = ""
    scopes: frozenset[Scope] = frozenset(Scope)
    created_at: AwareDatetime


def digest_of(secret: str) -> str:
    """Return the hash of a key; keys are random, so that a plain hash suffices."""
    return hashlib.sha256(secret.encode()).hexdigest()


def describe_key(secret: str, tenant: str, name: str, scopes: Iterable[Scope]) -> Key:
    """Return the record of a key."""
    return Key(
        id=f"key_{digest_of(secret)[:_ID_LETTERS]}",
        tenant=tenant,
        name=name,
        scopes=frozenset(scopes),
        created_at=datetime.now(UTC),
    )


def new_secret() -> str:
    """Return a new random key."""
    return f"vq-{secrets.token_urlsafe(_SECRET_BYTES)}"


def add_key(redis: Redis, secret: str, key: Key) -> None:
    """Make a key valid."""
    redis.hset(GATEWAY_KEYS, digest_of(secret), key.to_json())


def list_keys(redis: Redis) -> dict[str, Key]:
    """Return digest → key of all keys, oldest first."""
    stored: dict[Any, Any] = redis.hgetall(GATEWAY_KEYS)
    keys = {digest.decode(): _parsed(text) for digest, text in stored.items()}
    return dict(sorted(keys.items(), key=lambda item: item[1].created_at))


def revoke_key(redis: Redis, key_id: str) -> bool:
    """Make a key invalid; return whether it was valid."""
    digests = [digest for digest, key in list_keys(redis).items() if key.id == key_id]
    return bool(digests) and bool(redis.hdel(GATEWAY_KEYS, *digests))


async def find_key(redis: AsyncRedis, secret: str) -> Key | None:
    """Return the record of a key, or None."""
    stored = await redis.hget(GATEWAY_KEYS, digest_of(secret))
    return _parsed(stored) if stored else None


def _parsed(text: bytes | str) -> Key:
    # A newer release may have written more fields.
    return Key.model_validate_json(text, extra="ignore")


def scope_for(method: str, path: str) -> Scope:
    """Return the scope that a request needs."""
    if method in _SAFE_METHODS:
        return Scope.READ
    if method == "DELETE" or path.endswith("/cancel"):
        return Scope.OPERATE
    return Scope.SUBMIT
