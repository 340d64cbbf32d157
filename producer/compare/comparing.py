"""A comparison from its quote to its page."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from producer.compare.comparison_document import VariantComparison
from producer.compare.comparison_page import page_of
from producer.compare.comparison_plan import known_row
from producer.compare.comparison_rendering import say_comparison
from producer.compare.judging import judge_outcomes, judge_question, rows_to_judge, rows_to_quote
from producer.compare.limits_of_samples import limits_of
from producer.compare.outcomes import (
    GOLDEN,
    Answered,
    ComparisonTables,
    compared_rows,
    pair_outcome,
    right_differences,
    rightness,
    variant_outcome,
)
from producer.compare.stratified_sample import draw_sample
from producer.outputs import write_text
from producer.run.asking import RowsToAsk, ask_rows
from producer.run.preview import quote_rows
from producer.run.run_progress import Tally, rubles
from producer.run.run_record import Record
from producer.run.selection import Again, Selection
from producer.run.session import EXITS, SAID, Outcome
from producer.run.waste import USUAL_SHARE, WasteBreaker
from producer.stack import found_stack, simulates
from visionq.cli.shared import EXIT_OK, EXIT_STOPPED, print_json
from visionq.errors import RecordRefused
from visionq.pricing.model_options import load_option_table
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from producer.compare.comparison_document import ComparedRow
    from producer.compare.comparison_plan import ComparisonPlan
    from producer.compare.stratified_sample import Drawn, HeldRows
    from producer.compare.variants import Variant
    from producer.quote import Quote
    from producer.run.plan import Question
    from producer.run.run_progress import Terminal
    from producer.sources import Row
    from producer.stack import Stack
    from visionq.settings import Settings


def compare(plan: ComparisonPlan, settings: Settings, terminal: Terminal) -> int:
    """Draw, quote, ask the user, ask the models, and compare; return the exit code.

    Raises:
        InvalidSource: SOURCE can't be read, or is smaller than the sample.
        RecordRefused: answers that are there can't be used, or OUT can't be written.
        VisionqError: it can't go on; all answers so far are kept.
    """
    options, golden = plan.options, plan.golden
    drawn = draw_sample(
        plan.source,
        size=options.sample,
        seed=str(options.seed),
        column=options.stratify,
        golden=golden,
    )
    ended = ask_and_compare(plan, drawn, settings, terminal)
    if isinstance(ended, int):
        return ended
    if terminal.as_json:
        print_json(ended.found.to_public())
    else:
        say_comparison(ended.found, ended.rows)
    return EXIT_OK


#: Of a judge before it is known which texts differ.
_AT_MOST: Final = ", at most"


@dataclass(frozen=True)
class Compared:
    """What was found, and the rows with all answers to them."""

    found: VariantComparison
    rows: list[ComparedRow]


def ask_and_compare(
    plan: ComparisonPlan, drawn: Drawn, settings: Settings, terminal: Terminal
) -> Compared | int:
    """Quote, ask, compare and write; return an exit code if it stops.

    Raises:
        as `compare`.
    """
    options = plan.options
    with ExitStack() as exits:
        comparing = _Comparing(plan, drawn, settings, terminal, exits)
        if not comparing.agreed():
            return EXIT_STOPPED
        outcome = comparing.ask()
        if outcome is not Outcome.DONE:
            terminal.say(SAID[outcome])
            return EXITS[outcome]
        found, rows = comparing.compared()
        write_text(options.out, "".join(f"{row.model_dump_json()}\n" for row in rows))
        write_text(options.page, page_of(found, rows, drawn.source.held))
    return Compared(found, rows)


@dataclass
class _Asking:
    """One question about rows, and the record of its answers."""

    title: str
    question: Question
    path: Path
    record: Record
    rows: HeldRows
    quote: Quote | None = None


class _Comparing:
    def __init__(
        self,
        plan: ComparisonPlan,
        drawn: Drawn,
        settings: Settings,
        terminal: Terminal,
        exits: ExitStack,
    ) -> None:
        self.plan, self.drawn, self.settings = plan, drawn, settings
        self.terminal, self._exits = terminal, exits
        self._records: list[Record] = []
        self._again = Again(failed=plan.options.retry_failed, changed=True)
        exits.callback(self._leave_no_empty_folder)
        self._variants = [self._opened(one) for one in plan.variants]
        self._judge = self._opened_judge() if plan.options.judge is not None else None

    # Before ---------------------------------------------------------------------------------------

    def _opened(self, one: Variant) -> _Asking:
        name = f"{one.model.replace('/', '-')}-{one.digest}.jsonl"
        title = f"{one.letter}: {one.name}"
        rows = one.rows(self.drawn.source.held)
        asking = self._asking(title, one.question, name, self.drawn.source.of(rows))
        known = self.plan.known.get(one.letter, {})
        missing = [
            row for row in rows if row.id in known and asking.record.index.get(row.id) is None
        ]
        if missing:
            asking.record.begin()
            asking.record.append([known_row(row, one.question, known[row.id]) for row in missing])
        return asking

    def _opened_judge(self) -> _Asking:
        question = judge_question(self.plan, self.settings, sys.stdin.buffer)
        rows = rows_to_quote(self.plan, self.drawn.source.held)
        model = str(self.plan.options.judge)
        name = f"judge-{model.replace('/', '-')}-{question.fingerprint}.jsonl"
        return self._asking(f"judge: {model}{_AT_MOST}", question, name, rows)

    def _asking(self, title: str, question: Question, name: str, rows: HeldRows) -> _Asking:
        folder = self.plan.options.folder.absolute()
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise RecordRefused(f"{folder}: can't be made: {error.strerror}") from None
        record = self._exits.enter_context(closing(Record(folder / name)))
        record.check(question.fingerprint)
        record.check_origin(simulates=simulates(self.settings))
        self._records.append(record)
        return _Asking(title, question, folder / name, record, rows)

    def _leave_no_empty_folder(self) -> None:
        with suppress(OSError):
            self.plan.options.folder.absolute().rmdir()

    def agreed(self) -> bool:
        """Show what the whole comparison costs, and ask the user."""
        say, drawn = self.terminal.say, self.drawn
        say(f"sample: {drawn.size:,} of {drawn.rows:,} rows of {drawn.source.description}")
        for value, (rows, taken) in drawn.strata.items():
            say(f"  {self.plan.options.stratify} {value!r}: {taken:,} of {rows:,}")
        low = expected = high = Decimal(0)
        asked, warnings = 0, dict[str, None]()
        for one in (*self._variants, *([self._judge] if self._judge else [])):
            if one is self._judge and asked == 0:  # all answers are there: its questions are known
                self._judge.rows = rows_to_judge(self.plan, drawn.source.held, self._answered())
                self._judge.title = self._judge.title.removesuffix(_AT_MOST)
            quote = self._quoted(one)
            asked += quote.rows
            warnings |= dict.fromkeys(quote.warnings)
            rub = quote.rub
            low, expected, high = (
                amount + (part or 0)
                for amount, part in zip(
                    (low, expected, high), (rub.low, rub.expected, rub.high), strict=True
                )
            )
            free = f", {quote.stored + quote.duplicates:,} free" if quote.stored else ""
            say(f"{one.title}: {quote.asked:,} to be paid for{free}, {rubles(rub.expected or low)}")
        if asked == 0:
            return True
        say(f"all: about {rubles(expected)} (from {rubles(low)} to {rubles(high)})")
        for warning in warnings:
            say(f"warning: {warning}")
        if simulates(self.settings):
            say("the simulator will answer: no model sees a picture, nothing is paid")
        limit = self.plan.options.max_rub
        if limit is not None and expected > limit:
            say(f"--max-rub {limit} is probably too little for {rubles(expected)}")
        return self.terminal.agree("Begin?")

    def _quoted(self, one: _Asking) -> Quote:
        selection = self._selection(one)
        rows = (row for row in one.rows.held if selection.take(row)[0])
        one.quote = quote_rows(rows, one.question, self.settings)
        return one.quote

    def _selection(self, one: _Asking) -> Selection:
        return Selection(one.record.index, one.question.prompt, one.record.row, self._again)

    # Asking ---------------------------------------------------------------------------------------

    def ask(self) -> Outcome:
        """Ask the variants one after another, then the judge about what they wrote."""
        for one in self._variants:
            waste = WasteBreaker(USUAL_SHARE)
            outcome = self._ask(one, waste)
            if outcome is Outcome.WASTEFUL:
                for line in waste.said():
                    self.terminal.say(line)
                if not self.terminal.yes and self.terminal.agree("Go on with it all the same?"):
                    outcome = self._ask(one, None)
                else:  # the others can still be compared
                    self.terminal.say(f"{one.title}: stopped, as its paid answers fail")
                    outcome = Outcome.DONE
            if outcome is not Outcome.DONE:
                return outcome
        if self._judge is None:
            return Outcome.DONE
        self._judge.rows = rows_to_judge(self.plan, self.drawn.source.held, self._answered())
        return self._ask(self._judge, None) if self._judge.rows.held else Outcome.DONE

    def _ask(self, one: _Asking, waste: WasteBreaker | None) -> Outcome:
        selection = self._selection(one)
        to_ask = sum(selection.take(row)[0] for row in one.rows.held)
        if to_ask == 0:
            return Outcome.DONE  # needs no stack
        self.terminal.say(one.title.removesuffix(_AT_MOST))
        tally = Tally(
            before=selection.kept,
            failed_before=selection.kept_failed,
            paid_before=one.record.index.paid(),
            to_ask=to_ask,
            expected=one.quote.rub.expected if one.quote and one is not self._judge else None,
        )
        one.record.begin()
        rows = RowsToAsk(
            source=one.rows,
            question=one.question,
            run=self.plan.run,
            record=one.record,
            selection=self._selection(one),
            tally=tally,
            max_rub=self.plan.options.max_rub,
            paid=self._paid,
            waste=waste,
        )
        return ask_rows(rows, self._stack.redis_url, self.settings)

    @cached_property
    def _stack(self) -> Stack:
        return self._exits.enter_context(found_stack(self.settings))

    def _paid(self) -> Decimal:
        return sum((one.index.paid() for one in self._records), Decimal(0))

    # After ----------------------------------------------------------------------------------------

    def _answered(self) -> list[Answered]:
        return [
            Answered(variant, one.path, _rows_of(one.record, self.drawn.source.held))
            for variant, one in zip(self.plan.variants, self._variants, strict=True)
        ]

    def compared(self) -> tuple[VariantComparison, list[ComparedRow]]:
        """Return what was found, and the rows with all answers to them."""
        plan, drawn, every = self.plan, self.drawn, self._answered()
        rules, tables = plan.rules, self._tables()
        golden = None
        if plan.golden is not None:
            known = plan.golden.rows
            golden = {row.id: dict(known[row.id]) for row in drawn.source.held}
        right = (
            {}
            if golden is None
            else {one.variant.letter: rightness(golden, one, rules) for one in every}
        )
        sets = [(one.variant.letter, one.answers) for one in every]
        references = [*([(GOLDEN, golden)] if golden is not None else []), *sets]
        pairs = tuple(
            pair_outcome(reference, other, rules)
            for place, reference in enumerate(references)
            for other in references[place + 1 :]
        )
        variants = tuple(
            variant_outcome(one, drawn, tables, right.get(one.variant.letter)) for one in every
        )
        differences = tuple(right_differences(right))
        found = VariantComparison(
            source=drawn.source.description,
            rows=drawn.rows,
            sample=drawn.size,
            seed=plan.options.seed,
            golden=plan.golden.name if plan.golden is not None else None,
            strata=dict(drawn.strata),
            variants=variants,
            pairs=pairs,
            differences=differences,
            judged=tuple(judge_outcomes(plan, every, self._verdicts())) if self._judge else (),
            spent_rub=self._paid(),
            limits=tuple(
                limits_of(drawn, variants, pairs, differences, has_golden=golden is not None)
            ),
            out=str(plan.options.out.absolute()),
            page=str(plan.options.page.absolute()),
        )
        return found, list(compared_rows(every, golden, rules, plan.run))

    def _tables(self) -> ComparisonTables:
        files = self.settings
        return ComparisonTables(
            prices=load_prices(files.prices_file),
            rules=load_rules(files.vision_file),
            options=load_option_table(files.options_file),
            effort=files.default_effort,
        )

    def _verdicts(self) -> dict[str, dict[str, Any]]:
        assert self._judge is not None  # noqa: S101  # for the type checker
        return {row["id"]: row for row in _rows_of(self._judge.record, self._judge.rows.held)}


def _rows_of(record: Record, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows of a record that belong to the sample."""
    entries = (record.index.get(row.id) for row in rows)
    return [record.row(entry) for entry in entries if entry is not None]
