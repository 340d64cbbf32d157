"""`visionq budget` and `visionq spend`, as people and programs read them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import LedgerDriver, completed, new_job, outcome_of, paid, unclear
from tests.support.warm_processes import running_simulator
from visionq.cli import run
from visionq.cli.record import StackRecord, write_record
from visionq.errors import InvalidJob
from visionq.ledger import BudgetScope
from visionq.names import BALANCE_REFERENCE
from visionq.pricing.money import nano_rubles
from visionq.settings import Settings
from visionq.submission import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    Output = pytest.CaptureFixture[str]


@pytest.fixture
def driver(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> LedgerDriver:
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)
    monkeypatch.delenv("PROXYAPI_API_KEY", raising=False)
    return LedgerDriver(redis)


def printed(capsys: Output) -> Any:
    return json.loads(capsys.readouterr().out)


def spent(driver: LedgerDriver, rub: str, batch: str = "b1") -> None:
    """One call that was paid, and one of unknown billing."""
    for ends_well in (True, False):
        claim = driver.begin(new_job(batch_id=batch))
        driver.ledger.admit(claim, reserve=nano_rubles(Decimal(rub)))
        if ends_well:
            driver.ledger.finish(claim, paid(completed(claim.id), nano_rubles(Decimal(rub))))
        else:
            driver.ledger.finish(claim, unclear(outcome_of("parked billing_unknown", claim.id)))


def test_what_was_simulated_is_not_called_paid(
    driver: LedgerDriver,
    capsys: Output,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`spend` and `status` of a stack whose answers are simulated say that nothing was paid."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    spent(driver, "2")
    assert run(["spend", "--json"]) == run(["status", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["simulated"] for one in told] == [None, None]
    here = StackRecord(os.getpid(), redis_url, "http://127.0.0.1:8/openai/v1")
    for simulator_url in (None, "http://127.0.0.1:8"):
        write_record(replace(here, simulator_url=simulator_url))
        is_simulated, paid = bool(simulator_url), "simulated" if simulator_url else "paid"
        assert run(["spend", "--json"]) == run(["status", "--json"]) == 0
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [one["simulated"] for one in told] == [is_simulated, is_simulated]
        assert run(["spend"]) == run(["status"]) == 0
        text = capsys.readouterr().out
        assert f"in all      2 ₽ {paid}" in text
        assert f"2.00 ₽ {paid}" in text
        assert text.count("the simulator answers: nothing was paid") == is_simulated
        assert ("The simulator answers: nothing was paid." in text) == is_simulated


def test_budgets_are_set_shown_and_cleared(driver: LedgerDriver, capsys: Output) -> None:
    """A budget that is set is shown with what is left, and after a clear there is none."""
    assert run(["budget", "set", "--tenant", "t", "--total", "100", "--day", "7.5", "--json"]) == 0
    assert [(book["period"], book["limit_rub"]) for book in printed(capsys)] == [
        ("total", "100"),
        ("day", "7.5"),
    ]
    assert run(["budget", "set", "--batch", "b", "--total", "3"]) == 0
    assert "batch:b total: 3 ₽ left of 3 ₽" in capsys.readouterr().out
    assert run(["budget", "show", "--json"]) == 0
    assert len(printed(capsys)) == 3
    assert run(["budget", "clear", "--tenant", "t", "--day"]) == 0
    assert run(["budget", "clear", "--batch", "b"]) == 0
    assert [book.scope for book in driver.ledger.budgets()] == [BudgetScope.tenant("t")]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["set", "--tenant", "t", "--total", "many"], "'many' is not an amount of rubles"),
        (["set", "--tenant", "t", "--total", "1,500"], "'1,500' is not an amount of rubles"),
        (["set", "--tenant", "t", "--total", "-1"], "from 0 to 9,000,000 rubles, not -1"),
        (["set", "--tenant", "t"], "--total, --day or --month"),
        (["set", "--total", "5"], "--tenant or --batch"),
        (["set", "--batch", "b", "--day", "5"], "a batch has one budget"),
        (["set", "--tenant", "no such", "--day", "5"], "'no such' is not a tenant's name"),
    ],
)
def test_what_is_wrong_is_named(
    driver: LedgerDriver, arguments: list[str], named: str, capsys: Output
) -> None:
    """A budget that can't be set ends with 2 and one line that says why; nothing is written."""
    assert run(["budget", *arguments]) == 2
    assert named in capsys.readouterr().err
    assert driver.ledger.budgets() == ()


def test_spend_tells_all_that_is_known(driver: LedgerDriver, capsys: Output) -> None:
    """Paid, unknown with its job, budgets and why the balance is not compared."""
    driver.ledger.set_budget(BudgetScope.batch("b1"), Decimal(10))
    spent(driver, "1.25")
    assert run(["spend", "--json"]) == 0
    page = printed(capsys)
    assert (page["settled_rub"], page["unknown_rub"], page["reserved_rub"]) == ("1.25", "1.25", "0")
    assert page["unknown"][0]["worst_case_rub"] == "1.25"
    assert page["unknown"][0]["batch"] == "b1"
    assert page["budgets"][0]["left_rub"] == "7.5"
    assert "PROXYAPI_API_KEY" in page["balance_note"]
    for scope, amount in ((["--tenant", "default"], "1.25"), (["--batch", "other"], "0")):
        assert run(["spend", *scope, "--json"]) == 0
        assert printed(capsys)["settled_rub"] == amount
    assert run(["spend"]) == 0
    shown = capsys.readouterr().out
    for part in ("1.25 ₽ paid", "up to 1.25 ₽ for 1 call of", "budgets count them as paid"):
        assert part in shown


def test_the_balance_is_compared_with_the_books(
    driver: LedgerDriver, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Money gone from the account beyond the books is shown, from the first question on."""
    with running_simulator() as simulator:
        monkeypatch.setenv("PROXYAPI_BASE_URL", simulator.provider_url)
        simulator.configure(balance_rub=100)
        assert run(["spend", "--json"]) == 0
        assert printed(capsys)["balance"]["unexplained_rub"] == "0"
        spent(driver, "2")
        simulator.configure(balance_rub=95)
        assert run(["spend", "--json"]) == 0
        balance = printed(capsys)["balance"]
        assert (balance["gone_rub"], balance["settled_rub"]) == ("5", "2")
        assert balance["unexplained_rub"] == "3"
        assert run(["spend", "--compare-anew", "--json"]) == 0
        assert printed(capsys)["balance"]["gone_rub"] == "0"
        simulator.configure(balance_readable=False)
        assert run(["spend"]) == 0
        assert "the balance can't be read" in capsys.readouterr().out
    assert b"account" in driver.redis.hgetall(BALANCE_REFERENCE)


def test_unknown_calls_are_settled(driver: LedgerDriver, capsys: Output) -> None:
    """By job or by batch; what was unknown is paid or free, and the page says so."""
    spent(driver, "1.25")
    spent(driver, "2.5", batch="b2")
    assert run(["spend", "--json"]) == 0
    first = next(call for call in printed(capsys)["unknown"] if call["batch"] == "b1")
    assert run(["spend", "settle", first["job"], "--as", "paid", "--rub", "1", "--json"]) == 0
    assert printed(capsys) == [
        {
            "job": first["job"],
            "tenant": "default",
            "batch": "b1",
            "worst_case_rub": "1.25",
            "outcome": "settled",
        }
    ]
    assert run(["spend", "settle", "--batch", "b2", "--as", "unpaid"]) == 0
    assert "up to 2.5 ₽  settled" in capsys.readouterr().out
    assert run(["spend", "--json"]) == 0
    page = printed(capsys)
    assert (page["settled_rub"], page["unknown_rub"], page["unknown"]) == ("4.75", "0", [])
    assert run(["spend", "settle", first["job"], "--as", "paid"]) == 1
    assert "no call of unknown billing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--as", "paid"], "name jobs, or --tenant, or --batch"),
        (["j1", "--tenant", "t", "--as", "paid"], "name jobs, or --tenant, or --batch"),
        (["j1"], "--as"),
        (["j1", "--as", "unpaid", "--rub", "3"], "--rub goes with --as paid"),
        (["j1", "--as", "paid", "--rub", "-3"], "-3 is not an amount"),
    ],
)
@pytest.mark.usefixtures("driver")
def test_what_can_not_be_settled_is_named(arguments: list[str], named: str, capsys: Output) -> None:
    """A wrong word ends with 2 and one line that says why."""
    assert run(["spend", "settle", *arguments]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["*", "run-?", "[a]", "a b", "", "\u202ea", "a\x07", "где", "b" * 129]
)
def test_names_that_no_batch_can_have(driver: LedgerDriver, capsys: Output, name: str) -> None:
    """A budget is refused to a name under which no job can be submitted, naming the option."""
    assert run(["budget", "set", "--batch", name, "--total", "3"]) == 2
    assert "--batch" in capsys.readouterr().err
    assert driver.ledger.budgets() == ()
    fields = {"prompt": "?", "images": [{"url": "https://example.org/a.png"}], "batch_id": name}
    with pytest.raises(InvalidJob, match="batch_id"):
        prepare(fields, Settings())


def test_failures_are_priced_by_reason(driver: LedgerDriver, capsys: Output) -> None:
    """`spend --by failure` sums what failed jobs cost by code, of all, a tenant or a batch."""
    for rub, batch in (("2", "b1"), ("0.5", "b2")):
        claim = driver.begin(new_job(batch_id=batch))
        cost = nano_rubles(Decimal(rub))
        driver.ledger.admit(claim, reserve=cost)
        driver.ledger.finish(claim, paid(outcome_of("failed", claim.id), cost))
    assert run(["spend", "--by", "failure", "--json"]) == 0
    assert printed(capsys)["failures"] == {"not_an_image": {"jobs": 2, "cost_rub": "2.5"}}
    assert run(["spend", "--by", "failure", "--batch", "b2", "--json"]) == 0
    assert printed(capsys)["failures"] == {"not_an_image": {"jobs": 1, "cost_rub": "0.5"}}
    assert run(["spend", "--by", "failure", "--tenant", "nobody"]) == 0
    assert "no failed job is kept" in capsys.readouterr().out
    assert run(["spend", "--by", "failure"]) == 0
    assert "2.5 ₽ for 2 failed jobs" in capsys.readouterr().out
