"""Say in plain words what a comparison of so few rows can't tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from producer.compare.measures import rows_needed, share
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from producer.compare.comparison_document import (
        Figure,
        PairOutcome,
        RightDifference,
        VariantOutcome,
    )
    from producer.compare.stratified_sample import Drawn

#: A difference that people usually want to see.
_POINTS: Final = 0.05
#: Rows of a label below which its precision and recall say little.
_FEW: Final = 10
_SHOWN: Final = 5


def limits_of(
    drawn: Drawn,
    variants: Sequence[VariantOutcome],
    pairs: Sequence[PairOutcome],
    differences: Sequence[RightDifference],
    *,
    has_golden: bool,
) -> Iterator[str]:
    """Yield a line for each thing that the figures leave open."""
    n = drawn.size
    half = share(n // 2, n)
    yield (
        f"{counted(n, 'picture')}: a share near one half is known to"
        f" ±{(half.high - half.low) * 50:.0f} points (95 %);"
        f" ±{_POINTS * 100:.0f} points need about {rows_needed(_POINTS)} pictures"
    )
    flawless = [one.letter for one in variants if not one.failed and one.rows]
    if flawless:
        bound = share(0, n).high
        yield (
            f"no failure among {n} ({', '.join(flawless)}): of all pictures up to {bound:.1%} may"
            " fail all the same"
        )
    alike = [one.letter for one in variants if _is_one_value(one.row_rub) and one.rows]
    if alike:
        yield (
            f"all {n} cost the same ({', '.join(alike)}), so their interval has no width: of all"
            f" pictures up to {share(0, n).high:.1%} may cost otherwise"
        )
    if not has_golden:
        yield "without a golden set agreement says how alike answers are, not which are right"
    for one in differences:
        if not one.is_certain and one.difference.value is not None:
            found = one.difference
            yield (
                f"{one.first} and {one.second} can't be distinguished: {one.second} is right in"
                f" {_points(found.value)} points of the rows more, but anything from"
                f" {_points(found.low)} to {_points(found.high)} is possible"
            )
    yield from _rare_labels(pairs)
    if drawn.is_weighted:
        yield (
            "rare values of --stratify were drawn more often than their share: costs are weighted"
            " for it, agreement is that of the sample"
        )
    if drawn.unreadable:
        rows = counted(drawn.unreadable, "row")
        yield f"not drawn, as they can't be asked: {rows} of the source"


def _is_one_value(figure: Figure) -> bool:
    return figure.value is not None and figure.low == figure.high == figure.value


def _points(value: float | None) -> str:
    return "?" if value is None else f"{value * 100:+.0f}"


def _rare_labels(pairs: Sequence[PairOutcome]) -> Iterator[str]:
    seen: set[str] = set()
    for pair in pairs:
        for one in pair.fields:
            rare = [
                f"{label.label} ({label.recall.n})"
                for label in one.labels or ()
                if label.recall.n < _FEW
            ]
            if rare and one.field not in seen:
                seen.add(one.field)
                more = ", …" if len(rare) > _SHOWN else ""
                yield (
                    f"field {one.field}: too few rows of {', '.join(rare[:_SHOWN])}{more} to say"
                    " how well they are recognised"
                )
