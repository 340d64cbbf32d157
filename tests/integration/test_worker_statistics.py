"""What attempts count reaches Redis a second later in one script."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redis import exceptions as redis_errors

from tests.support.ledger import completed, new_job, paid
from visionq.ledger.metrics import read_counters
from visionq.names import METRICS
from worker.threads.statistics import StatisticsWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from tests.support.ledger import LedgerDriver
    from visionq.ledger import Ending
    from visionq.ledger.attempt_statistics import AttemptStatistics

ENDING = replace(paid(completed("j")), counted={"calls|{model}|200|ok": 1, "pictures|png": 2})


def counted(driver: LedgerDriver) -> dict[tuple[str, ...], int]:
    return read_counters(driver.redis).of("pictures", 1)


def test_what_is_gathered_is_written_once(driver: LedgerDriver) -> None:
    """Attempts of several tenants are added up under their own labels, and then forgotten."""
    writer = StatisticsWriter(driver.ledger)
    for tenant in ("a", "a", "b"):
        writer.add(new_job(tenant=tenant).document, ENDING)
    assert counted(driver) == {}
    writer.flush()
    writer.flush()
    assert counted(driver) == {("png",): 6}
    assert read_counters(driver.redis).of("calls", 3) == {("m1", "200", "ok"): 3}


def test_what_redis_does_not_take_is_kept(
    driver: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis is away nothing is lost; what can't be added up is dropped, the rest goes on."""
    writer, write = StatisticsWriter(driver.ledger), driver.ledger.add_statistics
    writer.add(new_job().document, ENDING)

    def fail(_: Sequence[AttemptStatistics]) -> None:
        raise redis_errors.ConnectionError("away")

    monkeypatch.setattr(driver.ledger, "add_statistics", fail)
    writer.flush()
    writer.add(new_job().document, ENDING)
    monkeypatch.setattr(driver.ledger, "add_statistics", write)
    writer.flush()
    assert counted(driver) == {("png",): 4}
    driver.redis.rename(METRICS, "kept")
    driver.redis.lpush(METRICS, "of another kind")
    writer.add(new_job().document, ENDING)
    writer.flush()
    driver.redis.rename("kept", METRICS)
    writer.flush()
    assert counted(driver) == {("png",): 4}


def test_the_thread_writes_each_second_and_at_its_end(
    driver: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gathered counts are written within seconds, and the last when the thread ends."""
    written, write = threading.Event(), driver.ledger.add_statistics

    def note(attempts: Sequence[AttemptStatistics]) -> None:
        write(attempts)
        written.set()

    monkeypatch.setattr(driver.ledger, "add_statistics", note)
    writer = StatisticsWriter(driver.ledger)
    writer.start()
    writer.add(new_job().document, ENDING)
    assert written.wait(10)
    assert counted(driver) == {("png",): 2}
    writer.add(new_job().document, ENDING)
    writer.stop()
    assert counted(driver) == {("png",): 4}


def test_more_than_is_kept_drops_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that takes nothing for long costs a bounded amount of memory."""
    monkeypatch.setattr("worker.threads.statistics._MOST_KEPT", 3)
    taken: list[Ending] = []
    ledger: Any = type(
        "Taking", (), {"add_statistics": lambda _, attempts: taken.extend(attempts)}
    )()
    writer = StatisticsWriter(ledger)
    for amount in range(5):
        writer.add(new_job().document, replace(ENDING, counted={"pictures|png": amount}))
    writer.flush()
    assert [one.fields["pictures|png"] for one in taken] == [2, 3, 4]  # type: ignore[attr-defined]
