"""A run from its quote to its last table."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from producer.run.budget import RunBudget
from producer.run.detached import detach
from producer.run.export import as_old_as, export, keep_changed
from producer.run.feeding import Feeder, Submitter
from producer.run.progress import open_display, rubles
from producer.run.quoting import quote_of_rest, show_quote
from producer.run.record import Record
from producer.run.sample import balance_of, report
from producer.run.session import Outcome, Session
from producer.run.tally import Tally
from producer.run.window import Window
from producer.stack import found_stack, simulates
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
    from collections.abc import Sequence
    from decimal import Decimal

    from producer.run.plan import Plan
    from producer.run.terminal import Terminal
    from producer.stack import Stack
    from visionq.settings import Settings

#: How a run's connections appear in Redis's `CLIENT LIST`.
_CLIENT_NAME: Final = "visionq-run"
_CODES_SHOWN: Final = 5

#: Outcome → exit code, where no row has failed.
_EXITS: Final = {
    Outcome.DONE: EXIT_OK,
    Outcome.SAMPLED: EXIT_STOPPED,
    Outcome.OUT_OF_BUDGET: EXIT_STOPPED,
    Outcome.INTERRUPTED: EXIT_INTERRUPTED,
}
_SAID: Final = {
    Outcome.DONE: "done",
    Outcome.SAMPLED: "stopped after the sample; the same command without --first does the rest",
    Outcome.OUT_OF_BUDGET: "stopped by --max-rub; the same command with more goes on",
    Outcome.INTERRUPTED: "interrupted; the same command goes on",
}


def work(
    plan: Plan, settings: Settings, terminal: Terminal, to_detach: Sequence[str] | None = None
) -> int:
    """Show what it costs, ask, run, and leave OUT complete; returns the exit code.

    With `to_detach`, the arguments that begin it again, the run goes on without this process.

    Raises:
        RecordRefused: OUT is another run's, or can't be written.
        VisionqError: the run can't go on; OUT holds what was answered.
    """
    wishes = plan.wishes
    with closing(Record(wishes.record, fresh=wishes.fresh)) as record, ExitStack() as stack:
        record.check(plan.question.fingerprint)
        record.check_origin(simulates=simulates(settings))
        begun = _Work(plan, settings, terminal, record, stack)
        if not begun.agreed():
            return EXIT_STOPPED
        if wishes.is_table and (said := keep_changed(wishes.out, wishes.record)):
            terminal.say(said)
        record.begin()
        if to_detach is None or wishes.first is not None:
            outcome, wants_more = begun.run(sample_only=to_detach is not None)
            if not wants_more:
                return begun.end(outcome)
    assert to_detach is not None  # noqa: S101  # for the type checker: it returned otherwise
    run = detach(plan.run, to_detach, plan.source.description, wishes.out.absolute())
    terminal.say(f"{run.id} goes on without this terminal: visionq runs attach {run.id}")
    if terminal.as_json:
        print_json(run.to_public())
    return EXIT_OK


@dataclass
class _Work:
    plan: Plan
    settings: Settings
    terminal: Terminal
    record: Record
    exits: ExitStack

    def __post_init__(self) -> None:
        rows, failed = self.record.index.count()
        before = rows - failed if self.plan.wishes.retry_failed else rows
        self.tally = Tally(before, self.record.index.paid())
        self._stack: Stack | None = None
        #: What the quote says of the rows that are to be asked.
        self._expected: Decimal | None = None
        self._asked = 0

    @property
    def stack(self) -> Stack:
        """The stack, found when it is needed first."""
        if self._stack is None:
            self._stack = self.exits.enter_context(found_stack(self.settings))
        return self._stack

    def agreed(self) -> bool:
        """Show what it costs, and ask."""
        quote = quote_of_rest(self.plan, self.record.index, self.settings)
        self._expected, self._asked = quote.rub.expected, quote.asked
        if quote.rows == 0:
            return True  # what is left is to put OUT in order
        show_quote(quote, self.plan, self.terminal)
        if simulates(self.settings):
            self.terminal.say("the simulator will answer: no model sees a picture, nothing is paid")
        if (short := self.record.room_is_short(quote.rows)) is not None:
            self.terminal.say(short)
        limit = self.plan.wishes.max_rub
        if limit is not None and quote.rub.expected is not None:
            needed = self.tally.paid_before + quote.rub.expected
            if needed > limit:
                self.terminal.say(f"--max-rub {limit} will probably not do for {rubles(needed)}")
        return self.terminal.agree("Begin?")

    def run(self, *, sample_only: bool) -> tuple[Outcome, bool]:
        """Run the sample, if one is wished for, and the rest, if that is agreed to.

        Returns how that ended, and whether somebody else is to do the rest.
        """
        first = self.plan.wishes.first
        if first is None:
            return self._session(None)[0], False
        before = balance_of(self.stack, self.settings)
        outcome, examples = self._session(first)
        balances = (before, balance_of(self.stack, self.settings))
        has_schema = "answer_schema" in self.plan.question.options
        forecast = self._forecast_of_sample()
        for line in report(self.tally, examples, balances, forecast, has_schema=has_schema):
            self.terminal.say(line)
        if outcome is not Outcome.SAMPLED or not self.terminal.agree("Go on with the rest?"):
            return outcome, False
        return (outcome, True) if sample_only else (self._session(None)[0], False)

    def _session(self, first: int | None) -> tuple[Outcome, list[dict[str, Any]]]:
        url, options = self.stack.redis_url, ledger_options(self.settings)
        with (
            connect(url, _CLIENT_NAME) as patient,
            connect(url, _CLIENT_NAME, retries=0, patience=REPLY) as redis,
            Signals() as signals,
        ):
            ledger = Ledger(patient, options)
            limit = self.plan.wishes.max_rub
            budget = RunBudget(ledger, patient, self.plan.run, limit, lambda: self.tally.paid)
            with as_queue_unavailable():
                budget.begin()
            window = Window()
            feeder = Feeder(
                source=self.plan.source.rows(),
                question=self.plan.question,
                run=self.plan.run,
                settings=self.settings,
                index=self.record.index,
                window=window,
                submitter=Submitter(ledger, patient, self.settings),
                before=budget.ensure,
                retry_failed=self.plan.wishes.retry_failed,
                columns=self.plan.wishes.form.columns,
                first=first,
            )
            display = open_display(self.plan.source.total, self._forecast(), time.monotonic)
            session = Session(
                question=self.plan.question,
                record=self.record,
                feeder=feeder,
                window=window,
                ledger=Ledger(redis, options),
                redis=redis,
                tally=self.tally,
                signals=signals,
                display=display,
                ensure_budget=budget.ensure,
                clock=time.monotonic,
            )
            with closing(display):
                return session.run(), session.examples

    def _forecast(self) -> Decimal | None:
        """Return what all rows of OUT will have cost."""
        return None if self._expected is None else self.tally.paid_before + self._expected

    def _forecast_of_sample(self) -> Decimal | None:
        asked = self.tally.rows - self.tally.cached - self.tally.failures
        if self._expected is None or not self._asked:
            return None
        return self._expected * min(asked, self._asked) / self._asked

    def end(self, outcome: Outcome) -> int:
        """Put OUT in order, make a table of it, and say what there is; returns the exit code."""
        wishes = self.plan.wishes
        self.record.settle(ordered=wishes.ordered and outcome is Outcome.DONE)
        if wishes.is_table:
            rows = self.record.rows(ordered=wishes.ordered)
            export(rows, wishes.out, wishes.form)
            as_old_as(wishes.out, wishes.record)
        rows_there, failed = self.record.index.count()
        self._say_end(outcome, rows_there, failed)
        if self.terminal.as_json:
            print_json(self._to_public(outcome, rows_there, failed))
        return EXIT_FAILED if failed and outcome is Outcome.DONE else _EXITS[outcome]

    def _say_end(self, outcome: Outcome, rows: int, failed: int) -> None:
        codes = self.tally.failed.most_common(_CODES_SHOWN)
        listed = ", ".join(f"{code} {count:,}" for code, count in codes)
        said = f"{failed:,} failed{f' ({listed})' if listed else ''}, {rubles(self.tally.paid)}"
        self.terminal.say(f"{_SAID[outcome]}: {rows:,} rows in {self.plan.wishes.out}, {said}")
        if simulated := self.record.index.origins()[0]:
            self.terminal.say(f"simulated answers: {simulated:,}; no model has seen these pictures")
        if failed and outcome is Outcome.DONE:
            self.terminal.say("the same command with --retry-failed asks the failed rows again")

    def _to_public(self, outcome: Outcome, rows: int, failed: int) -> dict[str, Any]:
        return {
            "run": self.plan.run,
            "outcome": outcome.value,
            "rows": rows,
            "failed": failed,
            "codes": dict(self.tally.failed),
            "cached": self.tally.cached,
            "simulated": self.record.index.origins()[0],
            "cost_rub": str(self.tally.paid),
            "spent_rub": str(self.tally.spent),
            "record": str(self.plan.wishes.record),
            "out": str(self.plan.wishes.out.absolute()),
        }
