from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.test_ledger_usage import finish
from visionq.cli.doctor.findings import Level
from visionq.cli.doctor.fleet_checks import usage_findings
from visionq.ledger.records import UsageNote
from visionq.names import MAINTENANCE, NOTICES
from worker.threads.maintenance.alerts import Drift, Notices

if TYPE_CHECKING:
    from redis import Redis

    from tests.support.ledger import LedgerDriver
    from worker.threads.maintenance.alerts import Alert


class Kept:
    """A sender that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Alert] = []

    def send(self, alert: Alert) -> bool:
        self.sent.append(alert)
        return True


def answers(driver: LedgerDriver, count: int, counted: int) -> None:
    for _ in range(count):
        finish(driver, UsageNote("m:1", "high", "q", 300, 20, counted, 0, 9, effort="low"))


def look(redis: Redis) -> None:
    redis.delete(f"{MAINTENANCE}drift")
    Drift(redis).run()


def test_a_drift_is_told_once(driver: LedgerDriver) -> None:
    """One alert when reality leaves the table, the next only after it was back."""
    redis = driver.redis
    answers(driver, 30, 330)
    look(redis)
    assert not redis.exists(NOTICES)
    assert [one.level for one in usage_findings(redis)] == [Level.OK]
    answers(driver, 150, 480)
    for _ in range(3):
        look(redis)
    sender = Kept()
    Notices(redis, sender, lambda: 0.0).run()  # type: ignore[arg-type]
    (alert,) = sender.sent
    assert alert.type == "usage.drifted"
    assert alert.message.startswith("m:1 at detail high, effort low counts 1.")
    (found,) = usage_findings(redis)
    assert found.level is Level.WARNING
    asked = [found.details[name] for name in ("model", "detail", "effort")]
    assert asked == ["m:1", "high", "low"]
    assert "follow the answers by themselves" in (found.advice or "")
    answers(driver, 200, 330)
    look(redis)
    answers(driver, 150, 480)
    look(redis)
    assert redis.xlen(NOTICES) == 2


def test_one_process_looks_at_a_time(driver: LedgerDriver) -> None:
    """Of a whole fleet one asks Redis within a minute."""
    answers(driver, 30, 480)
    Drift(driver.redis).run()
    driver.redis.delete(f"{MAINTENANCE}drift:m:1:high/low")
    Drift(driver.redis).run()
    assert driver.redis.xlen(NOTICES) == 1


def test_nothing_is_said_of_nothing(redis: Redis) -> None:
    """Without answers there is no finding."""
    assert usage_findings(redis) == []
