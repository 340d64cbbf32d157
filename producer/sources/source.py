"""What every kind of source has in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, Protocol, get_args

from producer.sources.grouping import grouped
from producer.sources.identities import Identities
from visionq.errors import InvalidSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.sources.row import BadRow, Row

Kind = Literal["auto", "csv", "jsonl", "list", "openai-batch"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What can be said of a source that does not show by itself."""

    #: What a file, or standard input, holds.
    kind: Kind = "auto"
    #: Columns (of JSONL: keys) that hold the pictures, in order; none: by their usual names.
    image_columns: tuple[str, ...] = ()
    #: Column that holds the id; None: by its usual names, else the picture's address is the id.
    id_column: str | None = None
    #: Encoding of the text; None: UTF-8, or CP1251 where it is no UTF-8.
    encoding: str | None = None
    #: What separates the cells of a CSV; None: found out from its first records.
    delimiter: str | None = None
    #: Make one row, with all their pictures, of rows that have one id.
    group: bool = False


class Source(Protocol):
    """Rows, read one after another and never all held."""

    @property
    def description(self) -> str:
        """What people are told about it: where it is, and as what it was read."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that `{placeholders}` of a prompt can have."""
        ...

    @property
    def total(self) -> int | None:
        """Rows in it; None until it has been read to the end once."""
        ...

    @property
    def skipped(self) -> int:
        """Files that are no pictures by their names, passed over in the last whole reading."""
        ...

    @property
    def passed_over(self) -> Counter[str]:
        """What systems leave between pictures, by name, in the last whole reading."""
        ...

    @property
    def asks_itself(self) -> bool:
        """Whether its rows bring their own prompts, as those of an OpenAI Batch file do."""
        ...

    def fingerprint(self) -> str:
        """Return what differs where the source is another.

        That is the hash of a file's content; of a folder, a glob or a bucket its address, since
        pictures are added to them.
        """
        ...

    def rows(self) -> Iterator[Row | BadRow]:
        """Read it from the beginning; called again it yields the same.

        Raises:
            InvalidSource: it is empty, can't be read, or has an id twice.
        """
        ...


def said_of_reading(source: Source) -> Iterator[str]:
    """Yield what was passed over in the last whole reading, for people."""
    if source.skipped:
        yield f"passed over, no pictures by their names: {source.skipped:,}"
    if source.passed_over:
        names = ", ".join(f"{name} ({count:,})" for name, count in source.passed_over.most_common())
        yield f"passed over, none of yours: {names}"


class Reading:
    """Counts rows, refuses an id that comes twice and a source without rows."""

    description: str
    columns: tuple[str, ...] = ()
    total: int | None = None
    skipped: int = 0
    asks_itself: bool = False
    #: Whether there is a column of ids; names of pictures are no ids to group by.
    has_ids: bool = False
    groups: bool = False
    #: Whether an id may come twice: names of files can't.
    _ids_may_repeat: bool = True

    @cached_property
    def passed_over(self) -> Counter[str]:
        """What systems leave between pictures, by name, in the last whole reading."""
        return Counter()

    def rows(self) -> Iterator[Row | BadRow]:
        """Read it from the beginning."""
        # A whole reading has shown that no id comes twice.
        seen = Identities() if self._ids_may_repeat and self.total is None else None
        count = 0
        for line, row in grouped(self._read()) if self.groups else self._read():
            first = seen.note(row.id, line) if seen else None
            if first is not None:
                raise InvalidSource(
                    f"{self.description}: lines {first} and {line} have the same id {row.id!r};"
                    " make one row of them, with all their pictures (--group), remove one, or name"
                    " a column of ids that are all different (--id-column)"
                )
            count += 1
            yield row
        if count == 0:
            raise InvalidSource(f"{self.description}: {self._nothing()}")
        self.total = count

    def fingerprint(self) -> str:
        """Return what differs where the source is another."""
        raise NotImplementedError

    def _read(self) -> Iterator[tuple[int, Row | BadRow]]:
        """Yield each row with the line at which it stands."""
        raise NotImplementedError

    def _nothing(self) -> str:
        return "it holds no rows"
