"""Which model a job asks: the one that it names, or the default, after the operator's migrations.

A migration replaces one model by another for all tenants or for one. It is kept in Redis, so that
every producer and worker follows it, also if its own settings name another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AwareDatetime, Field

from visionq.contract.base import Document, ModelName, TenantName
from visionq.errors import InvalidJob
from visionq.names import MODEL_CHANGES, MODEL_MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis import Redis

#: Stands for all tenants in a key of the hash.
_EVERYONE: Final = "*"
#: Changes that stay listed.
CHANGES_KEPT: Final = 1_000
#: Seconds for which a process trusts what it has read.
FRESH: Final = 5.0


class Migration(Document):
    """One model in the place of another."""

    source: ModelName
    target: ModelName
    #: None: all tenants.
    tenant: TenantName | None = None
    #: Whether jobs that name the model themselves follow as well.
    named: bool = False
    at: AwareDatetime
    #: Who did it: user and host.
    by: Annotated[str, Field(max_length=256)]

    @property
    def key(self) -> str:
        """The field of the hash that holds it."""
        return f"{self.tenant or _EVERYONE}:{self.source}"

    @property
    def whom(self) -> str:
        """The jobs that follow it, for people."""
        what = f"jobs that name {self.source} or no model" if self.named else "jobs without a model"
        return what if self.tenant is None else f"{what} of tenant {self.tenant}"


class MigrationEntry(Document):
    """An entry of the audit: a migration that was begun or undone."""

    undone: bool = False
    migration: Migration
    at: AwareDatetime
    by: Annotated[str, Field(max_length=256)]


@dataclass(frozen=True, slots=True)
class ModelMigrations:
    """The migrations in force, by their keys."""

    by_key: Mapping[str, Migration]

    def model_of(self, named: str | None, tenant: str | None, default: str) -> str:
        """Return the model that a job asks.

        Args:
            named: the model that the job names; None: none.
            tenant: whose job it is; None: a tenant without migrations of its own.
            default: VISIONQ_DEFAULT_MODEL.
        """
        model = named or default
        for _ in range(len(self.by_key) + 1):  # bounded: others may have written a circle
            step = self._step(model, tenant)
            if step is None or (named and not step.named):
                return model
            model = step.target
        return model

    def _step(self, model: str, tenant: str | None) -> Migration | None:
        own = self.by_key.get(f"{tenant}:{model}") if tenant else None
        return own or self.by_key.get(f"{_EVERYONE}:{model}")

    @property
    def latest_first(self) -> list[Migration]:
        """All of them, the latest first."""
        return sorted(self.by_key.values(), key=lambda one: one.at, reverse=True)

    def check(self, new: Migration) -> None:
        """Check that a migration fits to those in force.

        Raises:
            InvalidJob: its model is migrated already, or its target leads back to it.
        """
        if new.source == new.target:
            raise InvalidJob(f"{new.source}: give two different models")
        known = self.by_key.get(new.key)
        if known is not None:
            raise InvalidJob(
                f"{new.source} is migrated to {known.target} since {known.at:%Y-%m-%d}: undo that"
                f" first (`visionq models undo {new.source}{_option(new.tenant)}`), or migrate"
                f" {known.target}"
            )
        after = ModelMigrations({**self.by_key, new.key: new})
        if after._is_circular(new):
            raise InvalidJob(
                f"{new.target} is migrated to {new.source}: undo that first (`visionq models undo"
                f" {new.target}{_option(new.tenant)}`)"
            )

    def _is_circular(self, new: Migration) -> bool:
        """Return whether any tenant's jobs would come back to a model that they left."""
        tenants = {one.tenant for one in self.by_key.values()} | {new.tenant}
        for tenant in tenants:
            model, seen = new.source, set[str]()
            while model not in seen:
                seen.add(model)
                step = self._step(model, tenant)
                if step is None:
                    break
                model = step.target
            else:
                return True
        return False


#: Where nothing is migrated.
NO_MIGRATIONS: Final = ModelMigrations({})


def _option(tenant: str | None) -> str:
    return f" --tenant {tenant}" if tenant else ""


def migrations_of(stored: Mapping[bytes, bytes]) -> ModelMigrations:
    """Return the migrations in the hash of Redis."""
    # A newer release may know more of a migration.
    return ModelMigrations(
        {
            key.decode(): Migration.model_validate_json(text, extra="ignore")
            for key, text in stored.items()
        }
    )


def read_migrations(redis: Redis) -> ModelMigrations:
    """Return the migrations in force."""
    stored: Any = redis.hgetall(MODEL_MIGRATIONS)
    return migrations_of(stored)


class FreshMigrations:
    """The migrations in force, as known for a few seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known = NO_MIGRATIONS
        self._read_at = float("-inf")

    @property
    def known(self) -> ModelMigrations | None:
        """Return what is known; None: read them again."""
        return self._known if self._clock() - self._read_at < FRESH else None

    def keep(self, stored: Mapping[bytes, bytes]) -> ModelMigrations:
        """Return and keep what was read."""
        self._known, self._read_at = migrations_of(stored), self._clock()
        return self._known

    def read(self, redis: Redis) -> ModelMigrations:
        """Return what is known, or read it."""
        if (known := self.known) is not None:
            return known
        stored: Any = redis.hgetall(MODEL_MIGRATIONS)
        return self.keep(stored)


def migrate(redis: Redis, new: Migration) -> None:
    """Put a migration in force.

    Raises:
        InvalidJob: it does not fit to those in force.
    """

    def change(pipeline: Any) -> None:  # noqa: ANN401  # redis-py's pipeline, which reads at once here
        migrations_of(pipeline.hgetall(MODEL_MIGRATIONS)).check(new)
        pipeline.multi()
        pipeline.hset(MODEL_MIGRATIONS, new.key, new.to_json())
        _note(pipeline, MigrationEntry(migration=new, at=new.at, by=new.by))

    redis.transaction(change, MODEL_MIGRATIONS)


def undo(redis: Redis, old: Migration, change: MigrationEntry) -> None:
    """Take a migration back; one that is not in force any more stays away."""
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.hdel(MODEL_MIGRATIONS, old.key)
        _note(pipeline, change)
        pipeline.execute()


def _note(pipeline: Any, change: MigrationEntry) -> None:  # noqa: ANN401  # as above
    pipeline.lpush(MODEL_CHANGES, change.to_json())
    pipeline.ltrim(MODEL_CHANGES, 0, CHANGES_KEPT - 1)


def read_changes(redis: Redis, most: int = CHANGES_KEPT) -> list[MigrationEntry]:
    """Return what was migrated and undone, the latest first."""
    stored: Any = redis.lrange(MODEL_CHANGES, 0, most - 1)
    return [MigrationEntry.model_validate_json(text, extra="ignore") for text in stored]
