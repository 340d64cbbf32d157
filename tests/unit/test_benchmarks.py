"""What the benchmarks compute: goals, and the simulation of large fleets."""

from __future__ import annotations

import pytest

from benchmarks.scale.simulation import Costs, simulate
from benchmarks.tables import goal

pytestmark = pytest.mark.unit


def test_goals() -> None:
    """A goal is met, not met or not measured, and a bound that is reached is met."""
    assert goal("a", 2.0, 2.0, at_least=True) == ("a", 2.0, "≥ 2", "yes")
    assert goal("a", 2.1, 2.0, at_least=False) == ("a", 2.1, "≤ 2", "no")
    assert goal("a", None, 2.0, at_least=False)[-1] == "not measured"


def test_simulated_process_is_bound_by_its_core() -> None:
    """Where nothing else binds it, a process does as many jobs as its core has time for."""
    found = simulate(2, 0, Costs(worker=0.05), 10)
    assert found.jobs_per_second == pytest.approx(2 / 0.05, rel=0.03)
    assert found.workers_busy > 97


def test_simulated_fleet_keeps_to_the_limit() -> None:
    """A fleet that could do more reaches the provider's limit and is seldom refused."""
    found = simulate(20, 3_000, Costs(), 10)
    assert found.jobs_per_second == pytest.approx(50, rel=0.03)
    assert found.refused < 2


def test_simulated_redis_is_a_ceiling() -> None:
    """Workers beyond what Redis serves bring nothing."""
    costs = Costs(redis=0.01, worker=0.001)
    assert simulate(4, 0, costs, 10).jobs_per_second == pytest.approx(100, rel=0.05)


def test_simulated_processes_share_cores() -> None:
    """Processes on shared cores do what those have time for, Redis and provider included."""
    costs = Costs(worker=0.01, redis=0.002, provider=0.003, latency=0.1, cores=2)
    assert simulate(4, 0, costs, 10).jobs_per_second == pytest.approx(2 / 0.015, rel=0.03)
    alone = simulate(1, 0, costs, 10)
    assert alone.jobs_per_second == pytest.approx(1 / 0.01, rel=0.05)


def test_simulated_fleet_is_bound_by_its_threads() -> None:
    """Where calls take long, no more is done than there are threads to wait for them."""
    costs = Costs(worker=0.001, latency=4.0, threads=8)
    assert simulate(2, 0, costs, 20).jobs_per_second == pytest.approx(16 / 4, rel=0.05)
