"""Fixtures made of real processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fleet import Fleet, running_fleet  # noqa: E402  # the folder has to be known first

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with running_fleet(tmp_path, workers=2) as running:
        yield running
