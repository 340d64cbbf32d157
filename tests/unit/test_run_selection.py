"""Which rows a run asks: new ones, failed and changed ones where that is wished, a sample."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from producer.prompts import Prompt
from producer.quote.probe import sha256_of_file
from producer.run.plan import Question
from producer.run.run_record import Record, RowAttempt, refused
from producer.run.selection import Again, Sample, Selection, inputs_of
from producer.sources import BadRow, Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUESTION = Question(Prompt("Is it {name}?"), {"model": "m1"})

_NOT_AGAIN = Again()


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with closing(Record(tmp_path / "out.jsonl")) as opened:
        opened.begin()
        yield opened


@pytest.fixture
def row(tmp_path: Path) -> Row:
    (tmp_path / "a.jpg").write_bytes(b"a picture")
    return Row(1, "1", (str(tmp_path / "a.jpg"),), {"name": "x", "price": "5"})


def answer(record: Record, row: Row, **fields: Any) -> None:
    inputs = inputs_of(row, QUESTION.prompt)
    place = RowAttempt(row.number, row.id, inputs=inputs)
    known = refused(BadRow(row.number, row.id, "corrupt_image", "cut"), place, QUESTION)
    hashes = [sha256_of_file(image) for image in row.images if "://" not in image]
    record.append([known | {"error": None, "pictures": hashes, **fields}])


def changed(record: Record, row: Row, *, again: Again = _NOT_AGAIN) -> tuple[bool, Counter[str]]:
    selection = Selection(record.index, QUESTION.prompt, record.row, again)
    is_asked, _ = selection.take(row)
    assert selection.seen == selection.asked + selection.kept == 1
    return is_asked, selection.changed


def test_an_answered_row_is_not_asked_again(record: Record, row: Row) -> None:
    """Nor is one of which a column has changed that the prompt does not name."""
    assert changed(record, row) == (True, Counter())
    answer(record, row)
    assert changed(record, row) == (False, Counter())
    other = replace(row, variables={"name": "x", "price": "6"})
    assert changed(record, other, again=Again(changed=True)) == (False, Counter())


def test_a_changed_prompt_is_told_and_asked_where_wished(record: Record, row: Row) -> None:
    """A variable of the prompt that is another makes another question."""
    answer(record, row)
    other = replace(row, variables={"name": "y"})
    assert changed(record, other) == (False, Counter(prompt=1))
    assert changed(record, other, again=Again(changed=True)) == (True, Counter(prompt=1))


def test_a_picture_is_told_by_its_content(record: Record, row: Row, tmp_path: Path) -> None:
    """A file that was only touched is the same; one of equal length with other bytes is not."""
    answer(record, row)
    path = tmp_path / "a.jpg"
    os.utime(path, ns=(1, 1))
    assert changed(record, row) == (False, Counter())
    path.write_bytes(b"A picture")
    assert changed(record, row) == (False, Counter(pictures=1))
    path.unlink()
    assert changed(record, row) == (False, Counter(pictures=1))


def test_an_address_is_told_by_its_text(record: Record, row: Row) -> None:
    """The picture behind an address is not looked at; another address is another picture."""
    addressed = replace(row, images=("https://a.example/1.jpg", *row.images))
    answer(record, addressed, pictures=["f" * 64, sha256_of_file(row.images[0])])
    os.utime(row.images[0], ns=(1, 1))
    assert changed(record, addressed) == (False, Counter())
    other = replace(row, images=("https://a.example/2.jpg", *row.images))
    assert changed(record, other) == (False, Counter(pictures=1))


def test_rows_of_an_earlier_version_are_let_be(record: Record, row: Row) -> None:
    """Of what they were asked nothing is known."""
    answer(record, row, inputs=None)
    assert changed(record, replace(row, variables={"name": "y"})) == (False, Counter())


def test_failed_rows_that_stay_are_counted_by_code(record: Record, row: Row) -> None:
    """So that what is shown of the whole adds up."""
    answer(record, row, error={"code": "corrupt_image", "message": "cut"})
    kept = Selection(record.index, QUESTION.prompt, record.row)
    assert kept.take(row)[0] is False
    assert (kept.kept, kept.kept_failed) == (1, Counter(corrupt_image=1))
    again = Selection(record.index, QUESTION.prompt, record.row, Again(failed=True))
    is_asked, entry = again.take(row)
    assert is_asked
    assert entry is not None
    assert entry.code == "corrupt_image"
    assert record.index.codes() == Counter(corrupt_image=1)


def test_only_some(record: Record, row: Row) -> None:
    """Rows that were not named are not even counted; those that are not there are known."""
    selection = Selection(
        record.index, QUESTION.prompt, record.row, only=frozenset({"1", "nobody"})
    )
    assert selection.take(row)[0]
    assert not selection.take(replace(row, id="2"))[0]
    assert (selection.seen, selection.found) == (1, {"1"})


def sampled(ids: list[str], size: int, seed: str = "run-1") -> frozenset[str]:
    sample = Sample(size, seed)
    for one in ids:
        sample.note(one)
    return sample.ids


def test_a_sample_is_drawn_by_lot_and_always_the_same() -> None:
    """Not the top rows; the order of the source is of no matter, and a new row changes one."""
    ids = [str(number) for number in range(1000)]
    drawn = sampled(ids, 50)
    assert len(drawn) == 50
    assert drawn == sampled(ids[::-1], 50)
    assert drawn != sampled(ids, 50, "run-2")
    assert len(drawn - sampled([*ids, "new"], 50)) <= 1
    # A fair draw puts about half of them into each half.
    assert 10 < sum(int(one) < 500 for one in drawn) < 40
    assert sampled(ids[:3], 50) == {"0", "1", "2"}
