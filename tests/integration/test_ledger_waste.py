"""The waste breaker of a tenant: paid answers that fail stop it, and nobody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from producer.stack import closed_gate
from tests.support.ledger import LedgerDriver, completed, new_job, outcome_of, paid, unpaid
from visionq.cli import run
from visionq.cli.doctor.fleet_checks import fleet_findings
from visionq.contract import DelayReason, State
from visionq.ledger import LedgerOptions, Verdict
from visionq.ledger.overview import overview
from visionq.ledger.tenant_waste import clear_max_waste, read_waste, release_waste, set_max_waste
from visionq.ledger.views import job_views
from visionq.names import HOLDS, TENANT_WASTE

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Claim, Outcome

    Output = pytest.CaptureFixture[str]

TENANT = "default"
COST = 250_000_000


@pytest.fixture
def driver(redis: Redis) -> LedgerDriver:
    found = LedgerDriver(redis, LedgerOptions(slots_per_hint_ahead=0))
    found.worker(slots=4)
    return found


def _sent(driver: LedgerDriver, **fields: str) -> Claim:
    claim = driver.begin(new_job(**fields), driver.worker(slots=4))
    assert driver.ledger.admit(claim, reserve=COST).verdict is Verdict.GO
    return claim


def _end(driver: LedgerDriver, kind: str, times: int = 1, cost: int = COST, **fields: str) -> None:
    for _ in range(times):
        claim = _sent(driver, **fields)
        outcome: Outcome = outcome_of(kind, claim.id)
        if kind == "completed":
            outcome = completed(claim.id)
        ending = paid(outcome, cost) if cost else unpaid(outcome)
        assert driver.ledger.finish(claim, ending)


def _reason(driver: LedgerDriver, job_id: str) -> tuple[State, str | None]:
    (view,) = job_views(driver.redis, [job_id])
    assert view is not None
    return view.state, view.reason


def test_nothing_is_counted_by_default(driver: LedgerDriver) -> None:
    """A tenant without a share is never stopped, and nothing is kept of its answers."""
    _end(driver, "failed", 25)
    assert not driver.redis.exists(HOLDS, TENANT_WASTE + TENANT)
    assert read_waste(driver.redis) == ()


def test_failing_answers_stop_a_tenant(driver: LedgerDriver) -> None:
    """From the twentieth paid answer on, a share of failures above the limit parks its jobs."""
    driver.ledger.make(set_max_waste(TENANT, 30))
    _end(driver, "completed", 13)
    _end(driver, "failed", 30, cost=0)
    _end(driver, "failed", 6)
    assert not driver.redis.exists(HOLDS)
    claim = _sent(driver)
    driver.enter(new_job("mine"), new_job("other", tenant="other"))
    assert driver.ledger.finish(claim, paid(outcome_of("failed", claim.id), COST))
    assert _reason(driver, "mine") == (State.PARKED, DelayReason.WASTE)
    assert set(driver.live(30, slots=4)) == {"other"}
    (found,) = read_waste(driver.redis)
    assert (found.stopped, found.answers, found.failed) == (True, 20, 7)
    assert str(found.wasted_rub) == "1.75"
    assert found.examples[0].id == claim.id
    assert len(found.examples) == 3


def test_only_the_last_fifty_count(driver: LedgerDriver) -> None:
    """Good answers push failures out of the last fifty."""
    driver.ledger.make(set_max_waste(TENANT, 50))
    _end(driver, "failed", 10)
    _end(driver, "completed", 45)
    (found,) = read_waste(driver.redis)
    assert (found.stopped, found.answers, found.failed) == (False, 50, 5)
    assert driver.redis.ttl(TENANT_WASTE + TENANT) > 0


def test_calls_in_flight_end_as_usual(driver: LedgerDriver) -> None:
    """A call that was out when the tenant was stopped is booked, and its answer kept."""
    driver.ledger.make(set_max_waste(TENANT, 0))
    _end(driver, "failed", 19)
    claim = _sent(driver)
    _end(driver, "failed")
    assert driver.redis.hgetall(HOLDS) == {f"tenant:{TENANT}".encode(): b"waste"}
    assert driver.ledger.finish(claim, paid(completed(claim.id), COST))
    assert driver.state(claim.id) is State.COMPLETED


def test_release_begins_anew(driver: LedgerDriver) -> None:
    """A released tenant goes on, and old failures don't stop it again; new ones do."""
    driver.ledger.make(set_max_waste(TENANT, 30))
    _end(driver, "failed", 20)
    driver.enter(new_job("mine"))
    assert driver.live(60, slots=4) == []
    assert driver.ledger.make(release_waste(TENANT))
    assert driver.live(1, slots=4) == ["mine"]
    assert not driver.ledger.make(release_waste(TENANT))
    driver.ledger.cancel(["mine"])
    _end(driver, "failed", 19)
    assert not driver.redis.exists(HOLDS)
    _end(driver, "failed")
    assert driver.redis.exists(HOLDS)
    assert driver.ledger.make(clear_max_waste(TENANT))
    assert not driver.redis.exists(HOLDS, TENANT_WASTE + TENANT)
    assert read_waste(driver.redis) == ()


def test_another_hold_is_not_ours_to_release(driver: LedgerDriver) -> None:
    """A tenant that is held for another reason keeps it, regardless of what fails."""
    driver.ledger.make(set_max_waste(TENANT, 30))
    _end(driver, "failed", 19)
    claim = _sent(driver)
    driver.redis.hset(HOLDS, f"tenant:{TENANT}", "paused")
    assert driver.ledger.finish(claim, paid(outcome_of("failed", claim.id), COST))
    assert not driver.ledger.make(release_waste(TENANT))
    assert driver.redis.hgetall(HOLDS) == {f"tenant:{TENANT}".encode(): b"paused"}


def test_people_read_why(
    driver: LedgerDriver, redis_url: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command, `status` and `doctor` say what failed, name examples, and how to go on."""
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)
    assert run(["budget", "waste", "show"]) == 0
    assert capsys.readouterr().out == "no tenant is stopped for waste: no share is set\n"
    assert run(["budget", "waste", "set", "--tenant", TENANT, "--max-waste", "30"]) == 0
    assert "at work, at most 30 % may fail" in capsys.readouterr().out
    _end(driver, "failed", 20)
    page = overview(driver.redis)
    (finding,) = [one for one in fleet_findings(driver.redis, page) if one.check == "tenants.waste"]
    command = f"visionq budget waste release --tenant {TENANT}"
    assert command in (finding.advice or "")
    assert closed_gate(page.gate) == (
        f"held: tenant:{TENANT} (waste); see `visionq budget waste show`"
    )
    example = page.stopped[0].examples[0]
    assert run(["status"]) == 0
    shown = capsys.readouterr().out
    assert run(["budget", "waste", "show"]) == 0
    for text in (shown, capsys.readouterr().out, f"{finding.message}{finding.advice}"):
        assert "of the last 20 paid answers 20 failed" in text
        assert f"{example.id}: {example.code}, 0.25 ₽" in text
        assert command in text
    assert run(["budget", "waste", "release", "--tenant", TENANT, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["stopped"], told["answers"], told["max_waste_percent"]) == (False, 0, 30)
    assert run(["budget", "waste", "clear", "--tenant", TENANT, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "--tenant", "t", "--max-waste", "130"], "130"),
        (["set", "--tenant", "t", "--max-waste", "-1"], "-1"),
        (["set", "--tenant", "t", "--max-waste", "nan"], "nan"),
        (["set", "--tenant", "a b", "--max-waste", "30"], "'a b' is not a tenant's name"),
        (["release", "--tenant", "a:b"], "'a:b' is not a tenant's name"),
    ],
)
def test_bad_shares_and_names_are_one_line(
    driver: LedgerDriver, capsys: Output, arguments: list[str], said: str
) -> None:
    """A share out of range, or a name that no tenant has, is refused in one line."""
    assert run(["budget", "waste", *arguments]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert said in line
    assert read_waste(driver.redis) == ()
