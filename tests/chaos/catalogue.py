"""Every scenario by its name, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos.scenarios import (
    balance,
    batches,
    cancelling,
    canvases,
    hints,
    leases,
    memory,
    neighbours,
    other_broker,
    outages,
    parked,
    poison,
    reuse,
    rolling,
    silence,
    storm,
    upgrade,
)

if TYPE_CHECKING:
    from tests.chaos.scenario import Scenario

SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for module in (
        storm,
        leases,
        outages,
        memory,
        rolling,
        silence,
        poison,
        cancelling,
        canvases,
        hints,
        parked,
        balance,
        reuse,
        neighbours,
        upgrade,
        other_broker,
        batches,
    )
    for scenario in module.SCENARIOS
}
