"""From the answers of all variants to what a comparison says."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from random import Random
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING, Any, Final

from producer.compare import measures
from producer.compare.answer_fields import FieldKind, fields_of
from producer.compare.comparison_document import (
    ComparedRow,
    FieldOutcome,
    Figure,
    LabelOutcome,
    PairOutcome,
    RightDifference,
    VariantOutcome,
)
from producer.compare.measures import item
from visionq.contract import Detail
from visionq.contract.result import Usage
from visionq.errors import InvalidOutput
from visionq.pricing.models import end_of
from visionq.pricing.money import rubles
from visionq.pricing.prices import cost_nano_rubles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from producer.compare.answer_fields import FieldRule
    from producer.compare.stratified_sample import Drawn
    from producer.compare.variants import Variant
    from visionq.pricing.model_options import OptionTable
    from visionq.pricing.prices import PriceTable
    from visionq.pricing.vision import VisionRules

GOLDEN: Final = "golden"
#: Labels that a confusion table shows by name.
_MOST_LABELS: Final = 30
_OTHERS: Final = "(others)"
_BATCH: Final = "batch"

#: Fields of an answer by id of the row; rows without an answer are not there.
Answers = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Answered:
    """A variant with the rows of its record that belong to the sample."""

    variant: Variant
    path: Path
    rows: Sequence[Mapping[str, Any]]

    @property
    def answers(self) -> Answers:
        """Fields of the answers."""
        return {row["id"]: fields_of(row) for row in self.rows if row["error"] is None}


# One variant --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComparisonTables:
    """What is known of the models."""

    prices: PriceTable
    rules: VisionRules
    options: OptionTable
    #: Effort of a question that names none (VISIONQ_DEFAULT_EFFORT).
    effort: str

    def of(self, variant: Variant) -> dict[str, Any]:
        """Return how a variant's model takes the question, its price and its end."""
        model, asked = variant.model, variant.question.options
        detail, family = Detail(asked.get("detail", Detail.AUTO)), self.rules.family_of(model)
        price, end = self.prices.for_model(model), end_of(model)
        return {
            "model": model,
            "detail": (family.meaning(detail) if family else detail).value,
            "effort": asked.get("effort") or self.options.effort_of(model, self.effort),
            "ends": end.on if end else None,
            "input_rub": price.input if price else None,
            "output_rub": price.output if price else None,
        }


def variant_outcome(
    one: Answered, drawn: Drawn, tables: ComparisonTables, right: Mapping[str, bool] | None
) -> VariantOutcome:
    """Return cost, speed and failures of a variant, and how often it is right."""
    rows, prices = one.rows, tables.prices
    failed = Counter(row["error"]["code"] for row in rows if row["error"] is not None)
    costs = {row["id"]: float(cost_of(row, prices)) for row in rows}
    weighted = [costs[row_id] * drawn.weights.get(row_id, 1.0) for row_id in costs]
    each = measures.mean(weighted, _random("cost"))
    times = [row["latency_s"] for row in rows if row.get("latency_s") is not None]
    has_schema = one.variant.schema is not None
    return VariantOutcome(
        letter=one.variant.letter,
        name=one.variant.name,
        **tables.of(one.variant),
        record=str(one.path),
        rows=len(rows),
        failed=dict(failed.most_common()),
        failures=Figure.of(measures.share(failed.total(), len(rows))),
        misfits=Figure.of(measures.share(failed[InvalidOutput.code], len(rows)))
        if has_schema
        else None,
        cached=sum(bool(row["cached"]) for row in rows),
        spent_rub=sum((Decimal(row["cost_rub"]) for row in rows), Decimal(0)),
        row_rub=Figure.of(each),
        source_rub=Figure.of(_times(each, drawn.rows - drawn.unreadable)),
        input_tokens=_mean(row["input_tokens"] for row in rows),
        output_tokens=_mean(row["output_tokens"] for row in rows),
        latency_median_s=round(median(times), 3) if times else None,
        latency_p95_s=round(_p95(times), 3) if times else None,
        right=None if right is None else Figure.of(measures.share(sum(right.values()), len(right))),
    )


def cost_of(row: Mapping[str, Any], prices: PriceTable) -> Decimal:
    """Return what a row costs, as if its answer had not been stored."""
    price = prices.for_model(row["model"]) if row["cached"] else None
    if price is None:
        return Decimal(row["cost_rub"])
    usage = Usage(**{name: row[name] or 0 for name in _USAGE})
    tier = row["service_tier"]
    return rubles(cost_nano_rubles(price, usage, None if tier == _BATCH else tier))


_USAGE: Final = (
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip


def _mean(values: Iterator[int | None]) -> float:
    known = [value for value in values if value is not None]
    return round(fmean(known), 1) if known else 0.0


def _p95(values: Sequence[float]) -> float:
    # Before Python 3.13 one value has no quantiles.
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def _times(each: measures.Measured, rows: int) -> measures.Measured:
    value = None if each.value is None else each.value * rows
    return measures.Measured(value, each.low * rows, each.high * rows, each.n)


def _random(*names: str) -> Random:
    """Return the randomness of one figure: the same answers give the same intervals."""
    return Random("/".join(names))  # noqa: S311  # resampling is no secret


# Two sets of answers ------------------------------------------------------------------------------


def pair_outcome(
    reference: tuple[str, Answers], other: tuple[str, Answers], rules: Mapping[str, FieldRule]
) -> PairOutcome:
    """Return the agreement of answers with a reference, over the rows that both have."""
    (name, known), (letter, given) = reference, other
    ids = [row_id for row_id in known if row_id in given]
    whole = [row_agrees(known[row_id], given[row_id], rules) for row_id in ids]
    fields = []
    for field, rule in rules.items():
        # A golden row may leave fields out, and answers to another schema have no such field.
        both = [
            (known[row_id][field], given[row_id][field])
            for row_id in ids
            if field in known[row_id] and field in given[row_id]
        ]
        if both:
            fields.append(field_outcome(field, rule, both, f"{name}/{letter}"))
    agreement = Figure.of(measures.share(sum(whole), len(whole)))
    return PairOutcome(reference=name, variant=letter, agreement=agreement, fields=tuple(fields))


def field_outcome(
    field: str, rule: FieldRule, pairs: Sequence[tuple[Any, Any]], seed: str
) -> FieldOutcome:
    """Return the agreement in one field, of pairs of reference and answer."""
    equal = sum(rule.agree(one, other) for one, other in pairs)
    scores = [score for pair in pairs if (score := rule.score(*pair)) is not None]
    overlaps = [score for pair in pairs if (score := rule.overlap(*pair)) is not None]
    outcome = FieldOutcome(
        field=field,
        kind=rule.kind.value,
        agreement=Figure.of(measures.share(equal, len(pairs))),
        f1=Figure.of(measures.mean_score(scores, _random(seed, field, "f1"))) if scores else None,
        jaccard=Figure.of(measures.mean_score(overlaps, _random(seed, field, "jaccard")))
        if overlaps
        else None,
    )
    if rule.kind is not FieldKind.LABEL:
        return outcome
    labels = _named_labels([(item(one), item(other)) for one, other in pairs])
    confusion: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one, other in labels:
        confusion[one][other] += 1
    found = tuple(
        LabelOutcome(
            label=one.label, precision=Figure.of(one.precision), recall=Figure.of(one.recall)
        )
        for one in measures.label_scores(labels)
    )
    table = {one: dict(confusion[one].most_common()) for one in sorted(confusion)}
    return outcome.model_copy(update={"confusion": table, "labels": found})


def _named_labels(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Put rare labels together where there are too many for a table."""
    counts = Counter(label for pair in pairs for label in pair)
    kept = {label for label, _ in counts.most_common(_MOST_LABELS)}
    return [
        (one if one in kept else _OTHERS, other if other in kept else _OTHERS)
        for one, other in pairs
    ]


def row_agrees(
    known: Mapping[str, Any], given: Mapping[str, Any], rules: Mapping[str, FieldRule]
) -> bool:
    """Return whether two answers agree in each field that both have."""
    return not differing(known, given, rules)


def differing(
    known: Mapping[str, Any], given: Mapping[str, Any], rules: Mapping[str, FieldRule]
) -> list[str]:
    """Return the fields in which two answers differ."""
    return [
        field
        for field, rule in rules.items()
        if field in known and field in given and not rule.agree(known[field], given[field])
    ]


def rightness(golden: Answers, one: Answered, rules: Mapping[str, FieldRule]) -> dict[str, bool]:
    """Return id → whether all golden fields are right; no answer is wrong."""
    answers = one.answers
    return {
        row["id"]: row["id"] in answers and row_agrees(golden[row["id"]], answers[row["id"]], rules)
        for row in one.rows
        if row["id"] in golden
    }


def right_differences(right: Mapping[str, Mapping[str, bool]]) -> Iterator[RightDifference]:
    """Yield the difference of each two variants."""
    for first, second in combinations(right, 2):
        ids = [row_id for row_id in right[first] if row_id in right[second]]
        one, other = ([right[letter][row_id] for row_id in ids] for letter in (first, second))
        found = measures.difference(one, other)
        is_certain = found.low > 0 or found.high < 0
        yield RightDifference(
            first=first, second=second, difference=Figure.of(found), is_certain=is_certain
        )


# Rows beside each other ---------------------------------------------------------------------------


def compared_rows(
    every: Sequence[Answered], golden: Answers | None, rules: Mapping[str, FieldRule], name: str
) -> Iterator[ComparedRow]:
    """Yield each row with all answers to it, those that differ most first."""
    by_id: defaultdict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for one in every:
        for row in one.rows:
            by_id[row["id"]][one.variant.letter] = row
    found = [
        _compared(name, row_id, rows, golden and golden.get(row_id), rules)
        for row_id, rows in by_id.items()
    ]
    yield from sorted(found, key=lambda row: (-len(row.errors), -len(row.differ), row.id))


def _compared(
    name: str,
    row_id: str,
    rows: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Any] | None,
    rules: Mapping[str, FieldRule],
) -> ComparedRow:
    answers = {
        letter: fields_of(row) if row["error"] is None else None for letter, row in rows.items()
    }
    given = [one for one in answers.values() if one is not None]
    against = [*([known] if known else []), *given]
    differ = {
        field for one, other in combinations(against, 2) for field in differing(one, other, rules)
    }
    reference = known or next(iter(given), {})
    return ComparedRow(
        comparison=name,
        id=row_id,
        file=next(iter(rows.values()))["file"] or "",
        differ=tuple(field for field in rules if field in differ),
        deviating={
            letter: tuple(differing(reference, answer, rules))
            for letter, answer in answers.items()
            if answer is not None
        },
        golden=dict(known) if known is not None else None,
        answers=answers,
        errors={letter: row["error"]["code"] for letter, row in rows.items() if row["error"]},
        cost_rub={letter: row["cost_rub"] for letter, row in rows.items()},
    )
