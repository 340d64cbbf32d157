"""The JSON document of a quote."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Self

from visionq.contract.base import Document, Rubles
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.contract import Lane


class RubleSpan(Document):
    """Rubles: a lower bound, expected, an upper bound; null if a price is missing."""

    low: Rubles | None = None
    expected: Rubles | None = None
    high: Rubles | None = None

    @classmethod
    def of(cls, cost: Sequence[int]) -> Self:
        """Convert nano-rubles."""
        low, expected, high = (rubles(nano) for nano in cost)
        return cls(low=low, expected=expected, high=high)


class LaneQuote(Document):
    """Price and end of all the work by one lane."""

    #: `flex`: online, at the service tier of that name. `auto`: by the time that was asked for.
    lane: Literal["online", "flex", "batch", "auto"]
    rub: RubleSpan
    #: Null: how fast the online lane is, or flex, is not known; or it is years away.
    done: dt.datetime | None
    #: Share of the input tokens that batches are expected to take.
    in_batches: float


class ModelQuote(Document):
    """The price with one model, `detail` and effort, and its basis."""

    model: str
    detail: str
    #: Null: the provider's default, or a model without efforts.
    effort: str | None
    tokens: int
    rub: RubleSpan
    #: Rubles for a million tokens.
    input_rub: Decimal | None
    output_rub: Decimal | None
    price_source: str | None
    price_date: dt.date | None
    confirmed: bool
    #: When the model shuts down, and whether that is before the work is done.
    ends: dt.date | None
    ends_before: bool
    #: Answers by which the forecast was corrected, and the factor.
    answers: int
    factor: float | None
    cheapest: bool = False
    #: Whether it is the requested one.
    chosen: bool = False


class RefusedRow(Document):
    """A row that can't become a job, and why."""

    id: str
    code: str
    message: str
    #: The names of its pictures.
    file: str = ""


class CropsQuote(Document):
    """The part of the quote that is due to cutting long pictures into crops."""

    #: Pictures that are cut, and their crops.
    pictures: int = 0
    crops: int = 0
    #: Expected in addition to the tokens and price of the whole pictures.
    tokens: int = 0
    rub: Rubles | None = None


class NearPairQuote(Document):
    """A row that would get the answer of another."""

    distance: int
    id: str
    file: str
    source_id: str
    source_file: str


class Quote(Document):
    """The price of asking about a source."""

    rows: int
    #: In all rows, refused ones included.
    pictures: int
    #: Rows that will be paid for.
    asked: int
    #: Error code → refused rows.
    refused: dict[str, int]
    #: The first of each code; all of them in the command's `--json`.
    refusals: tuple[RefusedRow, ...]
    #: Rows that repeat another, and rows whose answer is cached: free.
    duplicates: int
    stored: int
    #: Rows with the answer of a picture of this source that looks alike, and some of the pairs.
    near: int
    #: Rows that are answered in the call of another, which pays for the picture.
    joined: int
    near_pairs: tuple[NearPairQuote, ...]
    #: Pictures that were not looked at: those by address.
    unseen: int
    crops: CropsQuote
    #: Bytes of files that were read whole, to find duplicates and cached answers.
    read_bytes: int
    #: Expected, for questions and answers together.
    tokens: int
    input_tokens: int
    output_tokens: int
    rub: RubleSpan
    #: Until all is done, at the rate of the last minutes; null: nothing ended recently.
    seconds: float | None
    per_minute: float | None
    #: The same work by each lane that there is, if all prices are known.
    lanes: tuple[LaneQuote, ...]
    #: The requested model; several if rows name models of their own.
    chosen: tuple[ModelQuote, ...]
    #: The same rows with other models, the cheapest first.
    models: tuple[ModelQuote, ...]
    #: Reasons not to start: a model that the provider does not list, or that ends early.
    warnings: tuple[str, ...]
    #: Assumptions behind uncertain figures.
    notes: tuple[str, ...]

    def expected_of(self, lane: Lane) -> Decimal | None:
        """Return the expected rubles of jobs with this `lane`."""
        costs = {one.lane: one.rub.expected for one in self.lanes}
        return costs.get(lane.value, self.rub.expected)
