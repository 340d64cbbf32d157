"""A run from its quote to its last table."""

from __future__ import annotations

import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from producer.run.budget import RunBudget
from producer.run.export import JSONL, export
from producer.run.feeding import Feeder, Submitter
from producer.run.progress import open_display, rubles
from producer.run.record import Record
from producer.run.session import Outcome, Session
from producer.run.tally import Tally
from producer.run.window import Window
from producer.stack import found_stack
from visionq.commands.shared import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_STOPPED,
    print_json,
)
from visionq.ledger import Ledger, ledger_options
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.sdk.waiting import REPLY
from visionq.stack.signals import Signals

if TYPE_CHECKING:
    from decimal import Decimal

    from producer.run.plan import Plan
    from producer.stack import Stack
    from visionq.settings import Settings

#: How a run's connections appear in Redis's `CLIENT LIST`.
_CLIENT_NAME: Final = "visionq-run"
_CODES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Terminal:
    """Whom a run talks to."""

    yes: bool
    as_json: bool
    source: str

    def say(self, line: str = "") -> None:
        """Print a line on stderr."""
        with suppress(OSError):
            click.echo(line, err=True)

    def agree(self, question: str) -> bool:
        """Ask, unless `--yes` was given.

        Raises:
            click.UsageError: nobody is there to answer.
        """
        if self.yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.UsageError("nobody is here to be asked: look at the quote, then give --yes")
        return click.confirm(question, err=True)


def work(plan: Plan, settings: Settings, terminal: Terminal) -> int:
    """Show the quote, ask, run, and leave OUT complete; returns the exit code.

    Raises:
        RecordRefused: OUT is another run's, or can't be written.
        VisionqError: the run can't go on; OUT holds what was answered.
    """
    wishes = plan.wishes
    with closing(Record(wishes.record, fresh=wishes.fresh)) as record:
        record.check(plan.question.fingerprint)
        with found_stack(settings) as stack:
            if not terminal.agree("Begin?"):
                return EXIT_STOPPED
            record.begin()
            outcome, tally = _run(plan, settings, stack, record, terminal)
        record.settle(ordered=wishes.ordered and outcome is Outcome.DONE)
        if wishes.out.suffix.lower() != JSONL:
            rows = record.rows(ordered=wishes.ordered)
            export(rows, wishes.out, delimiter=wishes.delimiter, bom=wishes.bom)
        return _end(plan, record, outcome, tally, terminal)


def _run(
    plan: Plan, settings: Settings, stack: Stack, record: Record, terminal: Terminal
) -> tuple[Outcome, Tally]:
    rows, failed = record.index.count()
    before = rows - failed if plan.wishes.retry_failed else rows
    tally = Tally(time.monotonic(), before, record.index.paid())
    options = ledger_options(settings)
    with (
        connect(stack.redis_url, _CLIENT_NAME) as patient,
        connect(stack.redis_url, _CLIENT_NAME, retries=0, patience=REPLY) as redis,
        Signals() as signals,
    ):
        budget = RunBudget(
            Ledger(patient, options), patient, plan.run, plan.wishes.max_rub, lambda: tally.paid
        )
        with as_queue_unavailable():
            budget.begin()

        def session(first: int | None) -> Outcome:
            window = Window()
            feeder = Feeder(
                source=plan.source.rows(),
                question=plan.question,
                run=plan.run,
                settings=settings,
                index=record.index,
                window=window,
                submitter=Submitter(Ledger(patient, options), patient, settings),
                before=budget.ensure,
                retry_failed=plan.wishes.retry_failed,
                first=first,
            )
            display = open_display(plan.source.total, None, time.monotonic)
            try:
                return Session(
                    question=plan.question,
                    record=record,
                    feeder=feeder,
                    window=window,
                    ledger=Ledger(redis, options),
                    redis=redis,
                    tally=tally,
                    signals=signals,
                    display=display,
                    ensure_budget=budget.ensure,
                    clock=time.monotonic,
                ).run()
            finally:
                display.close()

        return session(plan.wishes.first), tally


def _end(
    plan: Plan, record: Record, outcome: Outcome, tally: Tally, terminal: Terminal
) -> int:
    rows, failed = record.index.count()
    codes = ", ".join(f"{code} {count:,}" for code, count in tally.failed.most_common(_CODES_SHOWN))
    terminal.say(
        f"{outcome.value}: {rows:,} rows in {plan.wishes.record}, {failed:,} failed"
        f"{f' ({codes})' if codes else ''}, {rubles(tally.paid)}"
    )
    if outcome is Outcome.INTERRUPTED:
        return EXIT_INTERRUPTED
    if outcome is Outcome.OUT_OF_BUDGET:
        return EXIT_STOPPED
    return EXIT_FAILED if failed else EXIT_OK
