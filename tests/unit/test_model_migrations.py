"""A job asks the model that the operator's migrations lead to; none goes in a circle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.errors import InvalidJob
from visionq.ledger import NewJob
from visionq.ledger.calls import submit
from visionq.ledger.options import LedgerOptions
from visionq.model_migrations import FRESH, NO_MIGRATIONS, FreshMigrations, Migration
from visionq.model_migrations import ModelMigrations as Migrations
from visionq.settings import Settings
from visionq.submission import migrated, prepare

NOW = datetime(2026, 12, 1, tzinfo=UTC)
SETTINGS = Settings(default_model="a")
FIELDS = {"prompt": "?", "images": [{"url": "https://example.org/a.png"}]}


def move(
    source: str, target: str, tenant: str | None = None, *, named: bool = False, minute: int = 0
) -> Migration:
    at = NOW + timedelta(minutes=minute)
    return Migration(source=source, target=target, tenant=tenant, named=named, at=at, by="me@here")


def of(*migrations: Migration) -> Migrations:
    return Migrations({one.key: one for one in migrations})


def test_a_job_without_a_model_follows() -> None:
    """The default is replaced, also twice; a named model stays, unless the operator said so."""
    both = of(move("a", "b"), move("b", "c"))
    assert both.model_of(None, "t", "a") == "c"
    assert both.model_of("a", "t", "a") == "a"
    assert both.model_of(None, "t", "other") == "other"
    named = of(move("a", "b", named=True), move("b", "c"))
    assert named.model_of("a", "t", "other") == "b"
    assert named.model_of(None, "t", "a") == "c"
    assert NO_MIGRATIONS.model_of(None, None, "a") == "a"


def test_a_tenant_has_its_own() -> None:
    """A tenant's migration goes before that of all, and concerns no other tenant."""
    moves = of(move("a", "b"), move("a", "c", "t"))
    assert moves.model_of(None, "t", "a") == "c"
    assert moves.model_of(None, "u", "a") == "b"
    assert moves.model_of(None, None, "a") == "b"


def test_prepare_resolves_it() -> None:
    """The job is prepared for the model that it asks; a repeated submission stays the same job."""
    job = prepare(FIELDS, SETTINGS, of(move("a", "gpt-6-luna")))
    assert (job.model, job.effort) == ("gpt-6-luna", "none")
    redirect = of(move("a", "b", named=True))
    named = {**FIELDS, "model": "a", "idempotency_key": "k"}
    digests = set()
    for migrations in (NO_MIGRATIONS, redirect):
        job = prepare(named, SETTINGS, migrations)
        new = NewJob("1", job, defaulted=("max_output_tokens",), migrated=migrated(named, job))
        arguments = submit([new], LedgerOptions()).arguments
        digests.add(arguments[-3])
        assert job.model == ("b" if new.migrated else "a")
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("known", "new", "said"),
    [
        ((), move("a", "a"), "two different models"),
        ((move("a", "b"),), move("a", "c"), "migrated to b since 2026-12-01"),
        ((move("a", "b"),), move("b", "a"), "undo that first"),
        ((move("a", "b"), move("b", "c")), move("c", "a"), "undo that first"),
        ((move("b", "a", "t"),), move("a", "b"), "undo that first"),
    ],
)
def test_what_does_not_fit(known: tuple[Migration, ...], new: Migration, said: str) -> None:
    """The same model, a second target, and a circle are refused in one line."""
    with pytest.raises(InvalidJob, match=said) as refused:
        of(*known).check(new)
    assert "\n" not in refused.value.message


MODELS = st.sampled_from("abcd")
TENANTS = st.sampled_from([None, "t", "u"])


@given(st.lists(st.tuples(MODELS, MODELS, TENANTS, st.booleans()), max_size=12))
def test_no_circle_can_be_made(steps: list[tuple[str, str, str | None, bool]]) -> None:
    """Once accepted, each model leads to one that leads nowhere, for every tenant."""
    moves = NO_MIGRATIONS
    for source, target, tenant, named in steps:
        new = move(source, target, tenant, named=named)
        try:
            moves.check(new)
        except InvalidJob:
            continue
        moves = of(*moves.by_key.values(), new)
    for tenant in (None, "t", "u"):
        for model in "abcd":
            end = moves.model_of(None, tenant, model)
            assert moves.model_of(None, tenant, end) == end


def test_what_was_read_is_trusted_for_seconds() -> None:
    """A process follows a migration within a few seconds, and reads no more often."""
    now = [0.0]
    fresh = FreshMigrations(lambda: now[0])
    assert fresh.known is None
    one = move("a", "b")
    fresh.keep({one.key.encode(): one.to_json().encode()})
    assert fresh.known == of(one)
    now[0] = FRESH
    assert fresh.known is None
