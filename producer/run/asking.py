"""Ask about rows as jobs, until their answers are in a record."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from producer.run.feeder import (
    WINDOW_JOBS_OF_BATCHES,
    Feeder,
    Submitter,
    Window,
    bytes_for_batches,
)
from producer.run.run_progress import open_display
from producer.run.session import RunBudget, Session
from visionq.contract import Lane
from visionq.devstack.supervisor import Signals
from visionq.ledger import Ledger, ledger_options
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.sdk.waiting import REPLY

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from redis import Redis

    from producer.cascade.sampled_rows import RunAudit
    from producer.run.plan import Question
    from producer.run.run_progress import Tally
    from producer.run.run_record import Record
    from producer.run.selection import Selection
    from producer.run.session import Outcome
    from producer.run.waste import WasteBreaker
    from producer.sources import Source
    from visionq.settings import Settings

#: How these connections appear in Redis's `CLIENT LIST`.
_CLIENT_NAME: Final = "visionq-run"


@dataclass(frozen=True)
class RowsToAsk:
    """Rows of a source, the question about them, and the record of the answers."""

    source: Source
    question: Question
    #: The batch of the jobs, which has one budget.
    run: str
    record: Record
    selection: Selection
    tally: Tally
    #: Most rubles that `paid` may reach; None: no limit.
    max_rub: Decimal | None
    #: Returns the rubles that the rows of the batch have cost.
    paid: Callable[[], Decimal]
    #: Stops where paid answers fail; None: never.
    waste: WasteBreaker | None = None
    #: Stops where answers of a ladder are not what was promised; None: never.
    audit: RunAudit | None = None
    #: Ids of the rows to ask about now; None: all that are selected.
    sample: frozenset[str] | None = None
    #: Columns of the source that the record repeats; None: all.
    columns: tuple[str, ...] | None = None
    #: Whether the end of stdin stops it.
    ends_with_stdin: bool = False


def ask_rows(rows: RowsToAsk, redis_url: str, settings: Settings) -> Outcome:
    """Ask until all rows are done; return why it ended.

    Raises:
        RecordFailed: the record can't be written.
        VisionqError: the run can't go on; the record has all answers so far.
    """
    options = ledger_options(settings)
    with (
        connect(redis_url, _CLIENT_NAME) as patient,
        connect(redis_url, _CLIENT_NAME, retries=0, patience=REPLY) as redis,
        Signals(sys.stdin.fileno() if rows.ends_with_stdin else None) as signals,
    ):
        ledger = Ledger(patient, options)
        budget = RunBudget(ledger, patient, rows.run, rows.max_rub, rows.paid)
        with as_queue_unavailable():
            budget.begin()
        window = _window(rows.question, patient)
        feeder = Feeder(
            source=rows.source.rows(),
            question=rows.question,
            run=rows.run,
            settings=settings,
            window=window,
            submitter=Submitter(ledger, patient, settings),
            before=budget.ensure,
            selection=rows.selection,
            sample=rows.sample,
            columns=rows.columns,
        )
        display = open_display(time.monotonic)
        session = Session(
            question=rows.question,
            record=rows.record,
            feeder=feeder,
            window=window,
            ledger=Ledger(redis, options),
            redis=redis,
            tally=rows.tally,
            signals=signals,
            display=display,
            ensure_budget=budget.ensure,
            clock=time.monotonic,
            waste=rows.waste,
            audit=rows.audit,
        )
        with closing(display):
            return session.run()


def _window(question: Question, redis: Redis) -> Window:
    """Return the limits on jobs and pictures in Redis at a time."""
    lane = question.options.get("lane", Lane.AUTO)
    waits = lane == Lane.BATCH or (lane == Lane.AUTO and question.options.get("by") is not None)
    if not waits:
        return Window()
    with as_queue_unavailable():
        return Window(WINDOW_JOBS_OF_BATCHES, bytes_for_batches(redis))
