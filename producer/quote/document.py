"""A quote as programs read it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from visionq.contract.base import Document, Rubles
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from collections.abc import Sequence


class RubleSpan(Document):
    """Rubles: hardly less, expected, hardly more; null where a price is missing."""

    low: Rubles | None = None
    expected: Rubles | None = None
    high: Rubles | None = None

    @classmethod
    def of(cls, cost: Sequence[int]) -> Self:
        """Make it from nano-rubles."""
        low, expected, high = (rubles(nano) for nano in cost)
        return cls(low=low, expected=expected, high=high)


class ModelQuote(Document):
    """What one model would cost at one `detail` and effort, and what that rests on."""

    model: str
    detail: str
    #: Null: the provider's own, or a model that takes none.
    effort: str | None
    tokens: int
    rub: RubleSpan
    #: Rubles for a million tokens.
    input_rub: Decimal | None
    output_rub: Decimal | None
    price_source: str | None
    price_date: dt.date | None
    confirmed: bool
    #: When the model shuts down, and whether that is before the work would be done.
    ends: dt.date | None
    ends_before: bool
    #: Answers that the forecast was corrected by, and by how much.
    answers: int
    factor: float | None
    cheapest: bool = False
    #: Whether it is what was asked for.
    chosen: bool = False


class RefusedRow(Document):
    """A row that can't be asked, and why."""

    id: str
    code: str
    message: str
    #: The names of its pictures.
    file: str = ""


class CropsQuote(Document):
    """What cutting long pictures into crops makes of the quote; the figures are contained in it."""

    #: Pictures that are cut, and what they are sent as.
    pictures: int = 0
    crops: int = 0
    #: Expected beyond what the same pictures would count and cost whole.
    tokens: int = 0
    rub: Rubles | None = None


class Quote(Document):
    """What asking about a source will cost."""

    rows: int
    #: In all rows, whatever becomes of them.
    pictures: int
    #: Rows that will be paid for.
    asked: int
    #: Code → rows that can't be asked.
    refused: dict[str, int]
    #: The first of each code; of the command's `--json` all of them.
    refusals: tuple[RefusedRow, ...]
    #: Rows that ask the same as another, and rows whose answer is stored: free.
    duplicates: int
    stored: int
    #: Pictures that were not looked at: those by address.
    unseen: int
    crops: CropsQuote
    #: Bytes of files that were read whole, to tell duplicates and to find stored answers.
    read_bytes: int
    #: Expected, of questions and answers together.
    tokens: int
    input_tokens: int
    output_tokens: int
    rub: RubleSpan
    #: Until all is done, at the pace of the last minutes; null: nothing ended lately.
    seconds: float | None
    per_minute: float | None
    #: What was asked for: one entry, or more where rows name models of their own.
    chosen: tuple[ModelQuote, ...]
    #: The same rows with other models, the cheapest first.
    models: tuple[ModelQuote, ...]
    #: What stands against beginning: a model that the provider does not list, or that ends early.
    warnings: tuple[str, ...]
    #: What the figures rest on where they rest on little.
    notes: tuple[str, ...]
