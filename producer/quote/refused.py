"""The rows of a source that can't be asked, in a file."""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Final

from producer.outputs import REFUSED_MARKS, check_table
from producer.quote.census import RefusedPicture
from producer.run.errors import RecordFailed, RecordRefused
from producer.run.table_form import TableForm
from visionq.output_files import draft_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO

_JSONL: Final = ".jsonl"
_CSV: Final = ".csv"
_COLUMNS: Final = tuple(field.name for field in fields(RefusedPicture))


@contextmanager
def refused_file(out: Path) -> Iterator[Callable[[RefusedPicture], None]]:
    """Give a function that notes a refused row; the file is there when the block has ended.

    Raises:
        RecordRefused: it is of no known kind, or what stands there is none of ours.
        RecordFailed: it can't be written.
    """
    if out.suffix.lower() not in (_JSONL, _CSV):
        raise RecordRefused(f"{out}: --refused ends in {_JSONL} or {_CSV}")
    check_table(out, REFUSED_MARKS)
    draft = draft_of(out)
    try:
        # Excel takes a file for UTF-8 by the mark at its beginning.
        encoding = "utf-8-sig" if out.suffix.lower() == _CSV else "utf-8"
        with draft.open("x", encoding=encoding, newline="") as file:
            yield _table(file) if out.suffix.lower() == _CSV else _lines(file)
        draft.replace(out)
    except OSError as error:
        raise RecordFailed(f"{out}: can't be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _table(file: TextIO) -> Callable[[RefusedPicture], None]:
    form, writer = TableForm(), csv.writer(file)
    writer.writerow(_COLUMNS)

    def note(refusal: RefusedPicture) -> None:
        writer.writerow(form.text(getattr(refusal, name)) for name in _COLUMNS)

    return note


def _lines(file: TextIO) -> Callable[[RefusedPicture], None]:
    def note(refusal: RefusedPicture) -> None:
        file.write(json.dumps(asdict(refusal), ensure_ascii=False) + "\n")

    return note
