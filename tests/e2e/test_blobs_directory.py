"""Pictures in a directory, with real worker processes."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

from celery import Celery

from tests.support.fleet import jobs, running_fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from visionq import names

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_from_submission_to_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of the SDK and of plain Celery callers pass by Redis, and go after their jobs."""
    folder = tmp_path / "pictures"
    monkeypatch.setenv("VISIONQ_BLOB_URL", folder.as_uri())
    with running_fleet(tmp_path, workers=1) as fleet:
        redis = fleet.redis
        submitted = list(fleet.client.submit_many(jobs(30)))
        with Celery(broker=fleet.server.url, backend=fleet.server.url) as app:
            data = base64.b64encode(picture(1_000)).decode()
            images = [{"url": f"data:image/png;base64,{data}"}]
            sent = app.send_task(
                names.TASK_ANALYZE,
                kwargs={"prompt": "What?", "images": images},
                queue=names.QUEUE_INTAKE,
            )
            assert "64x48" in sent.get(timeout=60)["text"]
        for job in submitted:
            assert "64x48" in fleet.client.wait(job, timeout=60).text
        assert len(files(folder)) == 31
        assert redis.keys(names.BLOB + "*") == []
        entries: Any = redis.zrange(names.BLOB_GARBAGE, 0, -1)
        for entry in entries:
            redis.zadd(names.BLOB_GARBAGE, {entry: 1})
        until(lambda: files(folder) == [], 30, "the pictures to be deleted")


def files(folder: Path) -> list[str]:
    return [name for _, _, names_ in os.walk(folder) for name in names_]
