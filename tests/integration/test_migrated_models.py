"""A migration in Redis is followed at every door, is audited, and can be taken back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from producer.quote.model_facts import LearnedStatistics
from tests.support.pictures import picture
from visionq import AsyncClient, Client
from visionq.blobs import RedisBlobs, Room
from visionq.errors import InvalidJob
from visionq.ledger import Ledger
from visionq.ledger.views import job_document
from visionq.model_migrations import (
    Migration,
    MigrationEntry,
    migrate,
    read_changes,
    read_migrations,
    undo,
)
from visionq.names import MODEL_CHANGES
from visionq.settings import Settings
from worker.intake import Intake, enter

if TYPE_CHECKING:
    from redis import Redis

SETTINGS = Settings(default_model="old")
NOW = datetime(2026, 12, 1, tzinfo=UTC)
MOVE = Migration(source="old", target="new", at=NOW, by="me@here")
UNDONE = MigrationEntry(undone=True, migration=MOVE, at=NOW, by="me@here")


def model_of(redis: Redis, job_id: str) -> str | None:
    document = job_document(redis, job_id)
    return document.model if document else None


async def test_every_door_follows(redis: Redis, redis_url: str) -> None:
    """Both clients, Celery's callers and quotes ask the new model; a named one stays."""
    migrate(redis, MOVE)
    job: dict[str, Any] = {"prompt": "?", "images": [picture(1)]}
    with Client(SETTINGS, redis_url) as client:
        assert model_of(redis, client.submit(**job).id) == "new"
        assert model_of(redis, client.submit(**job, model="old").id) == "old"
        (streamed,) = client.submit_many([job])
        assert model_of(redis, streamed.id) == "new"
    async with AsyncClient(SETTINGS, redis_url) as client:
        assert model_of(redis, (await client.submit(**job)).id) == "new"
    blobs = RedisBlobs(redis, Room(3600, None))
    intake = Intake(SETTINGS, Ledger(redis), blobs, lambda _: None, lambda: read_migrations(redis))
    enter("plain", (), {"prompt": "?", "images": [{"url": "https://example.org/a.png"}]}, intake)
    assert model_of(redis, "plain") == "new"
    assert LearnedStatistics(redis).migrations().model_of(None, None, "old") == "new"


def test_it_is_audited_and_taken_back(redis: Redis) -> None:
    """Each change is listed with who made it; what does not fit changes nothing."""
    migrate(redis, MOVE)
    with pytest.raises(InvalidJob, match="migrated to new"):
        migrate(redis, MOVE.model_copy(update={"target": "other"}))
    assert read_migrations(redis).latest_first == [MOVE]
    undo(redis, MOVE, UNDONE)
    assert read_migrations(redis).latest_first == []
    assert [(one.undone, one.migration, one.by) for one in read_changes(redis)] == [
        (True, MOVE, "me@here"),
        (False, MOVE, "me@here"),
    ]
    assert redis.llen(MODEL_CHANGES) == 2
