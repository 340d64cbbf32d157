"""The phases of a run, from its quote to its tables."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from producer.run.asking import RowsToAsk, ask_rows
from producer.run.detached import detach
from producer.run.preview import (
    BalanceCheck,
    balance_of,
    look_at,
    quote_of_rest,
    report,
    said_of_changes,
    show_quote,
)
from producer.run.run_progress import Tally, rubles, without_answer
from producer.run.run_record import Record
from producer.run.selection import Again, Sample, Selection
from producer.run.session import EXITS, SAID, Outcome
from producer.run.table import as_old_as, export, keep_changed
from producer.run.waste import WasteBreaker
from producer.stack import found_stack, simulates
from visionq.cli.shared import EXIT_FAILED, EXIT_OK, EXIT_STOPPED, print_json
from visionq.contract import Lane
from visionq.errors import BillingUnknown
from visionq.wording import counted

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence
    from decimal import Decimal

    from producer.cascade.sampled_rows import RunAudit
    from producer.quote import Quote
    from producer.run.plan import RunPlan
    from producer.run.run_progress import Terminal
    from producer.stack import Stack
    from visionq.settings import Settings


def work(
    plan: RunPlan,
    settings: Settings,
    terminal: Terminal,
    to_detach: Sequence[str] | None = None,
    workflow: type[Workflow] | None = None,
) -> int:
    """Show the cost, ask, run, and complete OUT; return the exit code.

    With `to_detach`, the arguments of the command, the run goes on without this process.

    Raises:
        RecordRefused: OUT belongs to another run, or can't be written.
        VisionqError: the run can't go on; OUT has all answers so far.
    """
    options = plan.options
    with closing(Record(options.record, fresh=options.fresh)) as record, ExitStack() as stack:
        record.check(plan.question.fingerprint)
        record.check_origin(simulates=simulates(settings))
        begun = (workflow or Workflow)(plan, settings, terminal, record, stack)
        if not begun.agreed():
            return EXIT_STOPPED
        if options.is_table:
            begins = record.index.lines == 0
            if (said := keep_changed(options.out, options.record, begins=begins)) is not None:
                terminal.say(said)
        record.begin()
        if to_detach is None or options.first is not None or not begun.tally.to_ask:
            outcome, wants_more = begun.run(sample_only=to_detach is not None)
            if not wants_more:
                return begun.end(outcome)
    assert to_detach is not None  # noqa: S101  # for the type checker: it returned otherwise
    run = detach(plan.run, to_detach, plan.source.description, options.out.absolute())
    terminal.say(f"{run.id} goes on without this terminal: visionq runs attach {run.id}")
    if terminal.as_json:
        print_json(run.to_public())
    return EXIT_OK


@dataclass
class Workflow:
    """A run of one question to one model."""

    plan: RunPlan
    settings: Settings
    terminal: Terminal
    record: Record
    exits: ExitStack

    def __post_init__(self) -> None:
        self.tally = Tally()
        #: What the next session asks, and what compares its answers.
        self.question = self.plan.question
        self.audit: RunAudit | None = None
        self._stack: Stack | None = None
        #: Ids of the sample; None: no sample.
        self._sample: frozenset[str] | None = None
        #: Rubles of one row by the quote.
        self._each: Decimal | None = None

    @property
    def stack(self) -> Stack:
        """The stack, found at the first use."""
        if self._stack is None:
            self._stack = self.exits.enter_context(found_stack(self.settings))
        return self._stack

    def agreed(self) -> bool:
        """Show the cost, and ask the user."""
        first = self.plan.options.first
        selection = self._selection()
        sample = Sample(first, self.plan.run) if first is not None else None
        quote = quote_of_rest(self.plan, selection, sample, self.settings)
        self._sample = sample.ids if sample is not None else None
        expected = quote.expected_of(Lane(self.plan.question.options.get("lane", Lane.AUTO)))
        self.tally = Tally(
            before=selection.kept,
            failed_before=selection.kept_failed,
            paid_before=self.record.index.paid(),
            to_ask=quote.rows,
            expected=expected,
        )
        self._each = expected / quote.asked if expected else None
        if (said := said_of_changes(selection)) is not None:
            self.terminal.say(said)
        if quote.rows == 0:
            return True  # only sorting and the table are left
        show_quote(quote, self.plan, self.terminal)
        self._warn(quote)
        return self._sample_is_done or self.terminal.agree("Begin?")

    def _warn(self, quote: Quote) -> None:
        """Print warnings before the run begins."""
        if simulates(self.settings):
            self.terminal.say("the simulator will answer: no model sees a picture, nothing is paid")
        if (short := self.record.room_is_short(quote.rows)) is not None:
            self.terminal.say(short)
        limit, needed = self.plan.options.max_rub, self.tally.forecast
        if limit is not None and needed is not None and needed > limit:
            self.terminal.say(f"--max-rub {limit} is probably too little for {rubles(needed)}")

    @property
    def _sample_is_done(self) -> bool:
        """Whether OUT has the sample already, from an earlier run."""
        known = self.record.index.get
        return self._sample is not None and all(known(row_id) for row_id in self._sample)

    def _selection(self) -> Selection:
        options, prompt = self.plan.options, self.plan.question.prompt
        return Selection(self.record.index, prompt, self.record.row, options.again, options.only)

    def run(self, *, sample_only: bool) -> tuple[Outcome, bool]:
        """Run the sample, if any, and the rest if the user agrees.

        Return the outcome, and whether a detached run is to do the rest.
        """
        if self.tally.to_ask == 0:
            return Outcome.DONE, False  # needs no stack
        if self._sample is None:
            return self._session(None), False
        outcome, account = Outcome.SAMPLED, None
        if not self._sample_is_done or self.plan.options.again != Again():
            before = balance_of(self.stack, self.settings)
            outcome = self._session(self._sample)
            account = BalanceCheck(before, balance_of(self.stack, self.settings), self.tally.spent)
        index = self.record.index
        entries = [entry for row_id in sorted(self._sample) if (entry := index.get(row_id))]
        shown = look_at(self.record.row(entry) for entry in entries)
        has_schema = "answer_schema" in self.plan.question.options
        forecast = None if self._each is None else self._each * shown.paid
        for line in report(shown, account, forecast, has_schema=has_schema):
            self.terminal.say(line)
        if outcome is not Outcome.SAMPLED or not self.terminal.agree("Go on with the rest?"):
            return outcome, False
        return (outcome, True) if sample_only else (self._session(None), False)

    def _session(self, sample: frozenset[str] | None) -> Outcome:
        """Ask rows; where paid answers fail, stop and ask the user whether to go on."""
        waste = WasteBreaker(self.plan.options.max_waste)
        outcome = self._ask(sample, waste)
        if outcome is not Outcome.WASTEFUL:
            return outcome
        for line in waste.said():
            self.terminal.say(line)
        if self.terminal.yes or not self.terminal.agree("Go on all the same?"):
            return outcome
        return self._ask(sample, None)

    def _ask(self, sample: frozenset[str] | None, waste: WasteBreaker | None) -> Outcome:
        plan = self.plan
        rows = RowsToAsk(
            source=plan.source,
            question=self.question,
            run=plan.run,
            record=self.record,
            selection=self._selection(),
            tally=self.tally,
            max_rub=plan.options.max_rub,
            paid=lambda: self.tally.paid,
            waste=waste,
            audit=self.audit,
            sample=sample,
            columns=plan.options.form.columns,
            ends_with_stdin=plan.options.ends_with_stdin,
        )
        return ask_rows(rows, self.stack.redis_url, self.settings)

    def end(self, outcome: Outcome) -> int:
        """Sort OUT, make a table of it, and report; return the exit code."""
        options = self.plan.options
        self.record.settle(ordered=options.ordered and outcome is Outcome.DONE)
        if options.is_table:
            rows = self.record.rows(ordered=options.ordered)
            export(rows, options.out, options.form)
            as_old_as(options.out, options.record)
        rows_there, _ = self.record.index.count()
        codes = self.record.index.codes()
        self._say_end(outcome, rows_there, codes)
        if self.terminal.as_json:
            print_json(self._to_public(outcome, rows_there, codes))
        return _exit_code(outcome, codes)

    def _say_end(self, outcome: Outcome, rows: int, codes: Counter[str]) -> None:
        said = f"{without_answer(codes) or '0 failed'}, {rubles(self.tally.paid)}"
        self.terminal.say(
            f"{SAID[outcome]}: {counted(rows, 'row')} in {self.plan.options.out}, {said}"
        )
        if wasted := self.record.index.paid_failures():
            parts = ", ".join(f"{code} {rubles(paid)}" for code, paid in wasted.items())
            self.terminal.say(f"paid for rows without an answer: {parts}")
        if simulated := self.record.index.origins()[0]:
            self.terminal.say(f"simulated answers: {simulated:,}; no model has seen these pictures")
        if codes and outcome is Outcome.DONE:
            self.terminal.say("the same command with --retry-failed asks about these rows again")
        if codes[BillingUnknown.code]:
            self.terminal.say(
                "rows of unknown billing may have been paid: see `visionq spend` first"
            )

    def _to_public(self, outcome: Outcome, rows: int, codes: Counter[str]) -> dict[str, Any]:
        return {
            "run": self.plan.run,
            "outcome": outcome.value,
            "rows": rows,
            "failed": codes.total() - codes[BillingUnknown.code],
            "unknown": codes[BillingUnknown.code],
            "codes": dict(codes),
            "cached": self.tally.cached,
            "near": self.tally.near,
            "simulated": self.record.index.origins()[0],
            "cost_rub": str(self.tally.paid),
            "spent_rub": str(self.tally.spent),
            "failed_rub": {
                code: str(paid) for code, paid in self.record.index.paid_failures().items()
            },
            "record": str(self.plan.options.record),
            "out": str(self.plan.options.out.absolute()),
        }


def _exit_code(outcome: Outcome, codes: Counter[str]) -> int:
    """Return 1 if rows failed, and 4 if only their billing is unknown."""
    if outcome is Outcome.DONE and codes:
        return EXIT_STOPPED if codes.keys() == {BillingUnknown.code} else EXIT_FAILED
    return EXITS[outcome]
