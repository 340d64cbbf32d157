"""Fixtures made of real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bare_celery import install_celery_alone
from tests.support.fleet import Fleet, running_fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with running_fleet(tmp_path, workers=2) as running:
        yield running


@pytest.fixture(scope="session")
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_celery_alone(tmp_path_factory.mktemp("celery-redis-only"))
