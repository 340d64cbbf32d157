"""What the benchmarks compute: goals, reports, and the simulation of large fleets."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import _measured as measured
from benchmarks.peers.arena import place
from benchmarks.peers.contenders import Contender
from benchmarks.rate_limit.cases import Case, groups
from benchmarks.rate_limit.judging import judged, reached
from benchmarks.report import MixedRuns, document, merged, replace
from benchmarks.scale.simulation import Costs, simulate
from benchmarks.summary import ENGLISH, RUSSIAN, short_table
from benchmarks.tables import Table, goal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def test_goals() -> None:
    """A goal is met, not met or not measured, and a bound that is reached is met."""
    assert goal("a", 2.0, 2.0, at_least=True) == ("a", 2.0, "≥ 2", "yes")
    assert goal("a", 2.1, 2.0, at_least=False) == ("a", 2.1, "≤ 2", "no")
    assert goal("a", None, 2.0, at_least=False)[-1] == "not measured"


def test_simulated_process_is_bound_by_its_core() -> None:
    """With no other bound, a process does as many jobs as its core has time for."""
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
    """With long calls, no more is done than there are threads to wait for them."""
    costs = Costs(worker=0.001, latency=4.0, threads=8)
    assert simulate(2, 0, costs, 20).jobs_per_second == pytest.approx(16 / 4, rel=0.05)


def test_rate_limit_cases_cover_every_source_and_fleet() -> None:
    """Each source of limits meets each fleet at the lowest, a middle and the highest limit."""
    cases = [case for group in groups(10_000) for case in group]
    for source in ("setting", "headers"):
        for rate in (60, 300, 3_000):
            assert {1, 4, 16} <= {
                case.workers for case in cases if (case.source, case.rate) == (source, rate)
            }
    assert {(case.then or 0) > case.rate for case in cases if case.then} == {True, False}
    assert all(case.calls >= 300 and case.jobs > case.calls for case in cases)
    assert all(case.is_slow for group in groups(10_000) if len(group) > 1 for case in group)
    assert max(case.rate for group in groups(1_000) for case in group) == 900


def test_rate_limit_case_that_fails_leaves_its_goal_unmeasured() -> None:
    """A fleet that did not start is reported as such, and no goal is met without it."""
    case = Case(60, "setting", 4, backlog=10_000)
    good = judged(case, {"calls": 300.0, "reached": 97.0, "refused": 0.0, "takes": 1.01})
    bad = judged(Case(300, "headers", 16), "the fleet did not start: why")
    assert good[-1] == "yes"
    assert bad[-1] == "not measured: the fleet did not start: why"
    assert judged(case, {"calls": 300.0, "reached": 97.0, "refused": 0.0, "takes": 1.3})[-1] == "no"
    assert {row[-1] for row in reached([good]).rows} == {"yes", "not measured"}
    assert reached([good, bad]).rows[0][-1] == "not measured"


ABOUT = {
    "date": "2026-11-22 18:00 UTC",
    "run": "r1",
    "cores": "2",
    "Python": "3.11",
    "celery": "5.7",
    "redis": "8.1",
    "load before": "0.1",
}


def saved(folder: Path, part: str, run: str = "r1") -> Path:
    columns = ("contender", "image code", "jobs/s", "CPU ms a job")
    found = [("asyncio script", "ours", 20.0, 60.0), ("asyncio script", "usual", 9.5, 114.0)]
    found += [("visionq", "ours", 21.5, 52.0), ("saq", "ours", 19.25, 50.0), ("rq", "ours", 12, 80)]
    rows = [dict(zip(columns, row, strict=True)) for row in found]
    row = dict(zip(("goal", "found", "wanted", "met"), goal("g", 1, 2, at_least=True), strict=True))
    tables = [
        {"title": part, "rows": rows, "note": ""},
        {"title": f"{part}: goals", "rows": [row], "note": ""},
    ]
    path = folder / f"{part}-{run}.json"
    about = ABOUT | {"run": run}
    path.write_text(json.dumps({"machine": about, "parts": {part: tables}}), encoding="utf-8")
    return path


def test_parts_of_one_run_are_merged(tmp_path: Path) -> None:
    """Parts that were kept one by one make one page, with what was not measured named."""
    saved(tmp_path, "small")
    saved(tmp_path, "full")
    about, parts = merged([tmp_path])
    assert list(parts) == ["full", "small"]
    page = document(about, parts)
    assert "0 of 2 met" in page
    assert "not in this run: images" in page
    assert page.count("| g | 1 | ≥ 2 | no |") == 2


def test_parts_of_different_runs_are_not(tmp_path: Path) -> None:
    """Figures of two runs, or a part twice, are refused, and so is nothing at all."""
    one, other = saved(tmp_path, "full"), saved(tmp_path, "small", run="r2")
    with pytest.raises(MixedRuns, match="different runs"):
        merged([one, other])
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(MixedRuns, match="duplicate part full"):
        merged([one, saved(again, "full")])
    with pytest.raises(MixedRuns, match="no file"):
        merged([])


def test_short_table(tmp_path: Path) -> None:
    """The short table names the best queue, shows the usual code in brackets, and reads as such."""
    about, parts = merged([saved(tmp_path, "full")])
    english, russian = (short_table(about, parts, words) for words in (ENGLISH, RUSSIAN))
    assert "| 20 (9.5) | 21.5 | saq 19.2 |" in english
    assert "| 20 (9,5) | 21,5 | saq 19,2 |" in russian
    assert "| 60 (114) | 52 | saq 50 |" in english
    assert "0 of 1 goals met on 2026-11-22 18:00 UTC" in english


def test_figures_are_put_between_their_markers(tmp_path: Path) -> None:
    """Text around the figures stays, and a page without marks is not written."""
    page = tmp_path / "page.md"
    begin, end = (
        "<!-- figures of `python -m benchmarks.report`; do not edit -->",
        "<!-- end of figures -->",
    )
    page.write_text(f"a\n{begin}\nold\n{end}\nb\n")
    replace(page, "new")
    assert page.read_text() == f"a\n{begin}\n\nnew\n\n{end}\nb\n"
    page.write_text("a\n")
    with pytest.raises(ValueError, match="markers"):
        replace(page, "new")
    assert page.read_text() == "a\n"


def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part without the queues that it compares with says in one line how to install them."""

    def measure() -> list[Table]:
        with place(Contender("huey", (("no/such/huey_consumer",),), app="huey_app"), "ours", 0):
            pytest.fail("it ran")

    monkeypatch.setattr(sys.modules["benchmarks.__main__"], "_measure", lambda _: measure)
    (table,) = measured("submit", quick=False)
    line = "huey is not installed: run `sh scripts/install.sh peers`"
    assert f"submit failed: {line}\n" in capsys.readouterr().err
    assert line in table.note
