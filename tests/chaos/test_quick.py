"""The minute of chaos in `make test`; the scenarios at their full size are `make chaos`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.catalogue import SCENARIOS
from tests.chaos.scenario import Scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.scenario import Scenario

pytestmark = pytest.mark.timeout(300)

QUICK = [scenario for scenario in SCENARIOS.values() if scenario.in_tests]


@pytest.mark.parametrize("scenario", QUICK, ids=lambda scenario: scenario.name)
def test_keeps_its_promise(scenario: Scenario, tmp_path: Path) -> None:
    """Each scenario keeps its promise at a small size."""
    scene = Scene(tmp_path, seed=1, quick=True)
    scenario.run(scene)
    assert scene.goals
    assert not scene.missed
