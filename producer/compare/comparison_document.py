"""What a comparison found, as programs read it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Self

from visionq.contract.base import Document, Rubles

if TYPE_CHECKING:
    from producer.compare.measures import Measured


class Figure(Document):
    """A figure with the bounds of its 95 % interval, and the rows that it rests on."""

    #: Null: there is no such row.
    value: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def of(cls, measured: Measured) -> Self:
        """Round what was measured."""
        if measured.value is None:
            return cls(value=None, low=None, high=None, n=measured.n)
        value, low, high = (round(one, 6) for one in (measured.value, measured.low, measured.high))
        return cls(value=value, low=low, high=high, n=measured.n)


class VariantOutcome(Document):
    """What one variant answered, and at what cost."""

    letter: str
    name: str
    model: str
    #: What is meant where `auto`, or nothing, was asked for.
    detail: str
    effort: str | None
    #: The day on which the model ends, if that is announced.
    ends: dt.date | None
    #: Rubles for a million tokens.
    input_rub: Rubles | None
    output_rub: Rubles | None
    #: The JSONL of its answers, as `visionq run` writes it.
    record: str
    rows: int
    #: Error code → rows without an answer.
    failed: dict[str, int]
    failures: Figure
    #: Rows whose answer does not fit the schema; null: there is none.
    misfits: Figure | None
    #: Rows answered from stored answers, at no cost.
    cached: int
    #: Paid for the rows of the sample.
    spent_rub: Rubles
    #: A picture's cost, as if none were stored, and that of all rows of the source.
    row_rub: Figure
    source_rub: Figure
    #: Means of a row, as the provider counted.
    input_tokens: float
    output_tokens: float
    #: Seconds from call to answer; null: all answers were stored.
    latency_median_s: float | None
    latency_p95_s: float | None
    #: Rows whose fields are all as in the golden set.
    right: Figure | None = None


class LabelOutcome(Document):
    """A label's precision and recall against the reference."""

    label: str
    precision: Figure
    recall: Figure


class FieldOutcome(Document):
    """The agreement of two sets of answers in one field."""

    field: str
    kind: Literal["label", "number", "list", "text"]
    #: Share of rows with equal values.
    agreement: Figure
    #: Mean F1 of items or words; null of labels and numbers.
    f1: Figure | None = None
    #: Mean Jaccard index of items; null of all but lists.
    jaccard: Figure | None = None
    #: Label of the reference → label of the answer → rows.
    confusion: dict[str, dict[str, int]] | None = None
    labels: tuple[LabelOutcome, ...] | None = None


class PairOutcome(Document):
    """The agreement of a variant with a reference."""

    #: `golden`, or the letter of another variant.
    reference: str
    variant: str
    #: Share of rows that agree in all fields.
    agreement: Figure
    fields: tuple[FieldOutcome, ...]


class RightDifference(Document):
    """By how much more of its rows one variant has right than another."""

    first: str
    second: str
    difference: Figure
    #: Whether the interval leaves out zero.
    is_certain: bool


class JudgeOutcome(Document):
    """Which of two texts a model preferred, asked twice with the texts exchanged."""

    model: str
    first: str
    second: str
    #: Rows whose texts differ, and those of them for which it gave an answer to both questions.
    rows: int
    judged: int
    first_preferred: int
    second_preferred: int
    #: Both are as good, or the answers contradict each other.
    undecided: int
    #: Of the decided rows, the share in which the second is preferred.
    preference: Figure
    spent_rub: Rubles


class VariantComparison(Document):
    """What a comparison found."""

    source: str
    #: Rows of the source, and of the sample.
    rows: int
    sample: int
    seed: int
    golden: str | None
    #: Value of `--stratify` → rows of the source, and of the sample.
    strata: dict[str, tuple[int, int]]
    variants: tuple[VariantOutcome, ...]
    pairs: tuple[PairOutcome, ...]
    differences: tuple[RightDifference, ...] = ()
    judged: tuple[JudgeOutcome, ...] = ()
    spent_rub: Rubles = Decimal(0)
    #: What the figures can't tell, for people.
    limits: tuple[str, ...] = ()
    #: Rows that differ, with the answers beside each other.
    out: str
    page: str


class ComparedRow(Document):
    """One row of OUT: the answers to it beside each other."""

    #: Which comparison it is of; each line begins with it.
    comparison: str
    id: str
    file: str
    #: Fields in which the answers differ, from each other or from the golden set.
    differ: tuple[str, ...]
    #: Letter → fields that are not as in the golden set, or where there is none as in the first.
    deviating: dict[str, tuple[str, ...]]
    golden: dict[str, Any] | None
    #: Letter → fields of the answer; null: none.
    answers: dict[str, dict[str, Any] | None]
    #: Letter → code of the error.
    errors: dict[str, str]
    #: Letter → rubles.
    cost_rub: dict[str, str]
