"""What the rows that OUT does not have will cost, shown before it is asked whether to begin."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from producer.quote import Plan as QuotePlan
from producer.quote import make_quote
from producer.quote.command import knowledge_of
from producer.sources import said_of_reading
from visionq.contract import Detail
from visionq.prices import load_prices
from visionq.redis_connection import as_queue_unavailable
from visionq.vision import load_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.quote import Quote
    from producer.run.index import Index
    from producer.run.plan import Plan
    from producer.run.terminal import Terminal
    from producer.sources import BadRow, Row
    from visionq.settings import Settings


def quote_of_rest(plan: Plan, index: Index, settings: Settings) -> Quote:
    """Read the source once and return the quote of what is still to be asked.

    Raises:
        InvalidSource: the source can't be read to its end.
        QueueUnavailable: the stack that runs can't be asked what it knows.
    """
    options = plan.question.options
    with as_queue_unavailable(), knowledge_of(settings) as knowledge:
        detail = options.get("detail") or Detail.AUTO.value
        looks_up = knowledge.redis is not None and knowledge.has_answers(options["model"], detail)
        quote_plan = QuotePlan(
            settings=settings,
            rules=load_rules(settings.vision_file),
            prompt=plan.question.prompt,
            options=options,
            stored=knowledge.stored if looks_up else None,
        )
        rows = _rest(plan, index)
        prices = load_prices(settings.prices_file)
        return make_quote(rows, quote_plan, prices, knowledge, now=datetime.now(UTC))


def _rest(plan: Plan, index: Index) -> Iterator[Row | BadRow]:
    for row in plan.source.rows():
        known = index.find(row.id, row.number)
        if known is None or (known.failed and plan.wishes.retry_failed):
            yield row


def show_quote(quote: Quote, plan: Plan, terminal: Terminal) -> None:
    """Show it whole in a terminal, and in a few lines elsewhere."""
    for said in said_of_reading(plan.source):
        terminal.say(said)
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415  # for people alone

        from producer.quote.screen import draw  # noqa: PLC0415  # likewise

        Console(stderr=True, highlight=False).print(draw(quote, plan.source.description))
        return
    rub = quote.rub.to_public()
    refused = sum(quote.refused.values())
    terminal.say(f"source: {plan.source.description}")
    terminal.say(
        f"quote: {quote.asked:,} of {quote.rows:,} rows to be paid for, {refused:,} refused,"
        f" about {rub['expected']} ₽ (from {rub['low']} to {rub['high']})"
    )
