"""Share of a provider's rate limit that a fleet uses, and calls refused: the table of ADR 0006."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rate_limit_fleet import Provider, RateLimitFleet
from visionq.contract.limits import Limits
from visionq.ledger.rate_limits import OPERATOR

if TYPE_CHECKING:
    from tests.support.ledger import LedgerDriver


@pytest.mark.parametrize("announces", [False, True], ids=["set", "announced"])
@pytest.mark.parametrize("limit", [60, 300])
def test_a_known_limit(driver: LedgerDriver, limit: int, *, announces: bool) -> None:
    """At least 95 % of a limit that is set or announced is used, with less than 2 % refused."""
    if not announces:
        driver.ledger.set_limits(OPERATOR, {"m1": Limits(requests_per_minute=limit)})
    fleet = RateLimitFleet(driver, Provider(limit, announces=announces))
    fleet.run(100)
    rate, refused = fleet.figures(10, 100)
    assert rate > 0.95 * limit
    assert refused < 0.02


@pytest.mark.parametrize(
    ("limit", "latency", "says_pause"),
    [(60, 1.5, True), (60, 1.5, False), (300, 0.1, False), (600, 0.1, True)],
)
def test_an_unknown_limit(
    driver: LedgerDriver, limit: int, latency: float, *, says_pause: bool
) -> None:
    """At least 85 % of a limit that nobody announces is used, with at most 5 % refused."""
    fleet = RateLimitFleet(driver, Provider(limit, says_pause=says_pause, latency=latency))
    fleet.run(165)
    rate, refused = fleet.figures(45, 165)
    assert rate > 0.85 * limit
    assert refused < 0.05


@pytest.mark.parametrize(("before", "after"), [(450, 150), (150, 450)])
def test_an_unknown_limit_that_changes(driver: LedgerDriver, before: int, after: int) -> None:
    """A minute after the change the new limit is used like one that never changed."""
    fleet = RateLimitFleet(driver, Provider(before))
    fleet.run(45)
    fleet.change_limit(after)
    fleet.run(195)
    rate, refused = fleet.figures(105, 195)
    assert rate > 0.85 * after
    assert refused < 0.06


def test_a_limit_set_too_high(driver: LedgerDriver) -> None:
    """A limit set above that of the provider leads to few refusals."""
    driver.ledger.set_limits(OPERATOR, {"m1": Limits(requests_per_minute=400)})
    fleet = RateLimitFleet(driver, Provider(300))
    fleet.run(200)
    rate, refused = fleet.figures(60, 200)
    assert rate > 0.95 * 300
    assert refused < 0.05


def test_refusals_at_any_rate(driver: LedgerDriver) -> None:
    """A provider that refuses some calls at any rate is asked as fast as the slots allow."""
    provider = Provider(refused=1, latency=1)
    fleet = RateLimitFleet(driver, provider, slots=16)
    fleet.run(0.3)  # the rate is learned while little is asked
    provider.refused = 0.08
    fleet.run(400)
    rate, _ = fleet.figures(200, 400)
    assert rate > 0.7 * 16 * 60
