"""Show the quote of a run and the answers of its sample before the rest is paid."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from producer.job_options import check_options
from producer.quote import QuotePlan, make_quote
from producer.quote.near_page import lines_of, write_page
from producer.quote.quote_command import statistics_of
from producer.run.run_progress import rubles
from producer.sources import said_of_reading
from producer.sources.source import printable
from visionq.cli.provider_account import provider_at, read_balance
from visionq.cli.screen import people_console
from visionq.errors import Incomplete, InvalidOutput, InvalidSource, Refused
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.redis_connection import as_queue_unavailable
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from producer.quote import Quote
    from producer.run.plan import Question, RunPlan
    from producer.run.run_progress import Terminal
    from producer.run.selection import Sample, Selection
    from producer.sources import BadRow, Row
    from producer.stack import Stack
    from visionq.settings import Settings


def quote_of_rest(
    plan: RunPlan, selection: Selection, sample: Sample | None, settings: Settings
) -> Quote:
    """Read the source once and return the quote of the remaining rows.

    Raises:
        InvalidSource: the source can't be read to its end, or a row of `--only` is missing.
        QueueUnavailable: Redis of the running stack can't be reached.
    """
    quote = quote_rows(_rest(plan, selection, sample), plan.question, settings)
    missing = sorted((selection.only or frozenset()) - selection.found)
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        said = f"there is no row {missing[0]!r}{more} (--only)"
        raise InvalidSource(f"{plan.source.description}: {said}")
    return quote


def quote_rows(rows: Iterable[Row | BadRow], question: Question, settings: Settings) -> Quote:
    """Read rows once and return the quote of a question about them.

    Raises:
        InvalidSource: their source can't be read to its end.
        QueueUnavailable: Redis of the running stack can't be reached.
    """
    options = question.options
    with as_queue_unavailable(), statistics_of(settings) as statistics:
        looks_up = statistics.has_answers(check_options(options, settings))
        quote_plan = QuotePlan(
            settings=settings,
            rules=load_rules(settings.vision_file),
            prompt=question.prompt,
            options=options,
            stored=statistics.stored if looks_up else None,
            migrations=question.migrations,
        )
        prices = load_prices(settings.prices_file)
        return make_quote(rows, quote_plan, prices, statistics, now=datetime.now(UTC))


def _rest(plan: RunPlan, selection: Selection, sample: Sample | None) -> Iterator[Row | BadRow]:
    for row in plan.source.rows():
        seen = selection.seen
        is_asked, _ = selection.take(row)
        if sample is not None and selection.seen > seen:
            sample.note(row.id)
        if is_asked:
            yield row


def said_of_changes(selection: Selection) -> str | None:
    """Return a line about rows that changed since they were answered, or None."""
    if not selection.changed:
        return None
    what = ", ".join(f"{name} of {count:,}" for name, count in selection.changed.most_common())
    said = f"changed since they were answered: {counted(selection.changed.total(), 'row')} ({what})"
    return said if selection.again.changed else f"{said}; --retry-changed asks again"


def show_quote(quote: Quote, plan: RunPlan, terminal: Terminal) -> None:
    """Show the whole quote in a terminal, and a few lines elsewhere."""
    if plan.options.near_page is not None:
        write_page(plan.options.near_page, quote)
    for said in said_of_reading(plan.source):
        terminal.say(said)
    if sys.stderr.isatty():
        from producer.quote.rendering import draw  # noqa: PLC0415  # for people alone

        people_console(err=True).print(draw(quote, plan.source.description))
        return
    terminal.say(f"source: {plan.source.description}")
    terminal.say(in_one_line(quote))
    for line in lines_of(quote.near_pairs):
        terminal.say(line)
    for warning in quote.warnings:
        terminal.say(f"warning: {warning}")


def in_one_line(quote: Quote) -> str:
    """Return a quote as one line of a log."""
    rub, refused, crops = quote.rub.to_public(), sum(quote.refused.values()), quote.crops
    cut = f"; pictures cut into crops: {crops.pictures:,} into {crops.crops:,}"
    free = quote.duplicates + quote.stored + quote.near
    near = f" ({counted(quote.near, 'near-duplicate')})" if quote.near else ""
    return (
        f"quote: of {counted(quote.rows, 'row')} {quote.asked:,} to be paid for,"
        f" {free:,} free{near}, {refused:,} refused{cut if crops.pictures else ''};"
        f" about {rub['expected']} ₽ (from {rub['low']} to {rub['high']})"
    )


_LONGEST_ANSWER: Final = 300
_EXAMPLES: Final = 3
#: Failures that were paid for.
_PAID_FAILURES: Final = (InvalidOutput.code, Incomplete.code, Refused.code)


def balance_of(stack: Stack, settings: Settings) -> Decimal | None:
    """Return the provider's balance in rubles, or None if it can't be read from here."""
    url, simulated = stack.provider_url or settings.base_url, stack.simulated is True
    return read_balance(provider_at(url, settings, simulated=simulated))


@dataclass
class Shown:
    """The figures of a sample."""

    rows: int = 0
    cached: int = 0
    spent: Decimal = Decimal(0)
    failed: Counter[str] = field(default_factory=Counter)
    #: A few rows with answers, for people.
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Rows with an answer."""
        return self.rows - self.failed.total()

    @property
    def paid(self) -> int:
        """Rows that were paid for, counted as in the quote."""
        return max(0, self.answered - self.cached)


@dataclass(frozen=True, slots=True)
class BalanceCheck:
    """The provider's balance before and after, if it can be read, and our own spending."""

    before: Decimal | None
    after: Decimal | None
    spent: Decimal

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return "can't be read from here"
        less = rubles(self.before - self.after)
        said = f"{rubles(self.before)} → {rubles(self.after)}: {less} less"
        return f"{said}; by our prices {rubles(self.spent)} (the balance includes other users)"


def look_at(rows: Iterable[dict[str, Any]]) -> Shown:
    """Add up the rows of a sample in OUT."""
    shown = Shown()
    for row in rows:
        shown.rows += 1
        shown.cached += row["cached"]
        shown.spent += Decimal(row["cost_rub"])
        if row["error"] is not None:
            shown.failed[row["error"]["code"]] += 1
        elif len(shown.examples) < _EXAMPLES:
            shown.examples.append(row)
    return shown


def report(
    shown: Shown,
    account: BalanceCheck | None,
    forecast: Decimal | None,
    *,
    has_schema: bool,
) -> Iterator[str]:
    """Yield lines about a sample; `forecast` is the quote's cost of as many rows.

    `account` is None if the sample was answered by an earlier run.
    """
    failed = _share(shown.failed.total(), shown)
    yield f"sample: {counted(shown.rows, 'row')}, {shown.answered:,} answered, {failed} failed"
    for code, count in shown.failed.most_common():
        paid = " (paid)" if code in _PAID_FAILURES else ""
        yield f"  {code}{paid}: {_share(count, shown)}"
    if has_schema:
        misfits = _share(shown.failed[InvalidOutput.code], shown)
        yield f"schema: {_share(shown.answered, shown)} fit, {misfits} do not"
    each = f", {rubles(shown.spent / shown.rows)} each" if shown.rows else ""
    expected = f"; the quote expected {rubles(forecast)}" if forecast is not None else ""
    yield f"cost:   {rubles(shown.spent)}{each}{expected}"
    if account is not None:
        yield f"balance: {account}"
    if shown.cached:
        yield f"stored answers: {shown.cached:,}, at no cost"
    for row in shown.examples:
        text = printable(" ".join(str(row["text"]).split()))[:_LONGEST_ANSWER]
        yield f"  {row['id']}: {text}"


def _share(count: int, shown: Shown) -> str:
    return f"{count:,} ({count / max(1, shown.rows):.0%})"
