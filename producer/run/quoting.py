"""What the rows that OUT does not have will cost, shown before it is asked whether to begin."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from producer.intake import check_options
from producer.quote import QuotePlan, make_quote
from producer.quote.quote_command import knowledge_of
from producer.sources import said_of_reading
from visionq.cli.screen import people_console
from visionq.errors import InvalidSource
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.redis_connection import as_queue_unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.quote import Quote
    from producer.run.plan import RunPlan
    from producer.run.selection import Sample, Selection
    from producer.run.terminal import Terminal
    from producer.sources import BadRow, Row
    from visionq.settings import Settings


def quote_of_rest(
    plan: RunPlan, selection: Selection, sample: Sample | None, settings: Settings
) -> Quote:
    """Read the source once and return the quote of what is still to be asked.

    Raises:
        InvalidSource: the source can't be read to its end, or a row that was named is not there.
        QueueUnavailable: the stack that runs can't be asked what it knows.
    """
    options = plan.question.options
    with as_queue_unavailable(), knowledge_of(settings) as knowledge:
        looks_up = knowledge.has_answers(check_options(options, settings))
        quote_plan = QuotePlan(
            settings=settings,
            rules=load_rules(settings.vision_file),
            prompt=plan.question.prompt,
            options=options,
            stored=knowledge.stored if looks_up else None,
        )
        rows = _rest(plan, selection, sample)
        prices = load_prices(settings.prices_file)
        quote = make_quote(rows, quote_plan, prices, knowledge, now=datetime.now(UTC))
    missing = sorted((selection.only or frozenset()) - selection.found)
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        said = f"there is no row {missing[0]!r}{more} (--only)"
        raise InvalidSource(f"{plan.source.description}: {said}")
    return quote


def _rest(plan: RunPlan, selection: Selection, sample: Sample | None) -> Iterator[Row | BadRow]:
    for row in plan.source.rows():
        seen = selection.seen
        is_asked, _ = selection.take(row)
        if sample is not None and selection.seen > seen:
            sample.note(row.id)
        if is_asked:
            yield row


def said_of_changes(selection: Selection) -> str | None:
    """Return what to say of rows that ask something else than when they were asked."""
    if not selection.changed:
        return None
    what = ", ".join(f"{name} of {count:,}" for name, count in selection.changed.most_common())
    said = f"changed since they were asked: {selection.changed.total():,} rows ({what})"
    return said if selection.again.changed else f"{said}; --retry-changed asks them again"


def show_quote(quote: Quote, plan: RunPlan, terminal: Terminal) -> None:
    """Show it whole in a terminal, and in a few lines elsewhere."""
    for said in said_of_reading(plan.source):
        terminal.say(said)
    if sys.stderr.isatty():
        from producer.quote.screen import draw  # noqa: PLC0415  # for people alone

        people_console(err=True).print(draw(quote, plan.source.description))
        return
    terminal.say(f"source: {plan.source.description}")
    terminal.say(in_one_line(quote))
    for warning in quote.warnings:
        terminal.say(f"warning: {warning}")


def in_one_line(quote: Quote) -> str:
    """Return a quote for a log; the rows add up."""
    rub, refused, crops = quote.rub.to_public(), sum(quote.refused.values()), quote.crops
    cut = f"; pictures cut into crops: {crops.pictures:,} into {crops.crops:,}"
    free = quote.duplicates + quote.stored
    return (
        f"quote: of {quote.rows:,} rows {quote.asked:,} to be paid for,"
        f" {free:,} free, {refused:,} refused{cut if crops.pictures else ''};"
        f" about {rub['expected']} ₽ (from {rub['low']} to {rub['high']})"
    )
