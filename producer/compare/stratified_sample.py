"""Draw the rows that all variants are asked about."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from producer.run.selection import Sample
from producer.sources import BadRow, Row, Source
from visionq.errors import InvalidSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from producer.compare.golden_set import GoldenSet

#: Rows of a sample, unless another number is asked for.
USUAL_SIZE: Final = 50


class HeldRows(Source):
    """Rows that are held in memory."""

    _ids_may_repeat = False

    def __init__(self, description: str, rows: Sequence[Row], identity: str) -> None:
        self.description = description
        self.held = tuple(rows)
        self._identity = identity

    def of(self, rows: Sequence[Row]) -> HeldRows:
        """Return the same source with other forms of its rows."""
        return HeldRows(self.description, rows, self._identity)

    def fingerprint(self) -> str:
        """Return the identity that it was made with."""
        return self._identity

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        return ((row.number, row) for row in self.held)


@dataclass(frozen=True)
class Drawn:
    """A sample of the rows of a source."""

    source: HeldRows
    #: Rows of the source, and those among them that can't be asked.
    rows: int
    unreadable: int = 0
    #: Value of the column → rows of the source, and of the sample; empty: not stratified.
    strata: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    #: Id → its part in the source by its part in the sample.
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Rows of the sample."""
        return len(self.source.held)

    @property
    def is_weighted(self) -> bool:
        """Whether rare values were drawn more often than their share."""
        return any(abs(weight - 1) > _EVEN for weight in self.weights.values())


#: By this much the weights of rows differ from rounding alone.
_EVEN: Final = 0.25


def draw_sample(
    source: Source,
    *,
    size: int | None,
    seed: str,
    column: str | None = None,
    golden: GoldenSet | None = None,
) -> Drawn:
    """Draw rows by lot, of each value of `column` its share and at least one.

    With a golden set they are drawn among its rows. A larger sample contains the smaller one.

    Raises:
        InvalidSource: the source can't be read, has no such column, or too few rows.
    """
    if column is not None and column not in source.columns:
        there_are = ", ".join(source.columns) or "none"
        raise InvalidSource(
            f"{source.description} has no column {column!r}; there are: {there_are}"
        )
    wanted = size or USUAL_SIZE
    lots = _Lots(wanted, seed, column, golden)
    for row in source.rows():
        lots.note(row)
    if golden is not None:
        golden.check_ids(lots.found)
    where = golden.name if golden is not None else source.description
    if lots.readable == 0:
        raise InvalidSource(f"{where}: no row can be asked")
    if size is not None and size > lots.readable:
        rows = f"{lots.readable:,} rows that can be asked"
        raise InvalidSource(f"--sample {size}: {where} has {rows}; take {lots.readable} or fewer")
    parts = lots.allocated(min(wanted, lots.readable))
    ids = frozenset(row_id for sample in parts.values() for row_id in sample.ids)
    held = [row for row in source.rows() if row.id in ids and isinstance(row, Row)]
    counted = {name: (lots.counts[name], len(sample.ids)) for name, sample in parts.items()}
    factor = len(ids) / lots.readable
    weights = {
        row_id: lots.counts[name] * factor / len(sample.ids)
        for name, sample in parts.items()
        for row_id in sample.ids
    }
    return Drawn(
        HeldRows(source.description, held, source.fingerprint()),
        rows=lots.rows,
        unreadable=lots.rows - lots.readable if golden is None else 0,
        strata=counted if column is not None else {},
        weights=weights,
    )


class _Lots:
    """The lots of the rows, by value of the column."""

    def __init__(self, size: int, seed: str, column: str | None, golden: GoldenSet | None) -> None:
        self._size, self._seed, self._column, self._golden = size, seed, column, golden
        self._samples: dict[str, Sample] = {}
        self.counts: Counter[str] = Counter()
        self.rows = self.readable = 0
        #: Ids of the golden set that are in the source.
        self.found: set[str] = set()

    def note(self, row: Row | BadRow) -> None:
        """Consider a row."""
        self.rows += 1
        if self._golden is not None:
            if row.id not in self._golden.rows:
                return
            self.found.add(row.id)
        if isinstance(row, BadRow):
            return
        self.readable += 1
        name = row.variables.get(self._column, "") if self._column is not None else ""
        if name not in self._samples:
            if len(self._samples) == self._size:
                said = f"--stratify {self._column}: it has more values than the sample has rows"
                raise InvalidSource(f"{said} ({self._size}): take a larger one, or another column")
            self._samples[name] = Sample(self._size, self._seed)
        self.counts[name] += 1
        self._samples[name].note(row.id)

    def allocated(self, size: int) -> dict[str, Sample]:
        """Return the sample of each value."""
        found = {}
        for name, count in shares(self.counts, size).items():
            found[name] = Sample(count, self._seed)
            for row_id in self._samples[name].ids:
                found[name].note(row_id)
        return found


def shares(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """Divide `size` in proportion to the counts, at least one to each.

    A larger size takes nothing from any.
    """
    whole = sum(counts.values())
    found = dict.fromkeys(counts, 1)
    for given in range(len(counts) + 1, size + 1):
        name = max(counts, key=lambda one: (counts[one] * given / whole - found[one], one))
        found[name] += 1
    return found
