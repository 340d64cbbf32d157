"""OUT.jsonl: what a crash, a full disk or another run leaves of it."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.prompts import Prompt
from producer.run.plan import Question
from producer.run.record_index import open_rows
from producer.run.run_record import Record, RowAttempt, refused, to_line
from producer.sources import BadRow
from visionq.errors import RecordFailed, RecordRefused

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = Question(Prompt("What?"), {"model": "m1"})


def row(number: int, attempt: int = 1, paid: str = "0") -> dict[str, Any]:
    place = RowAttempt(number, f"row {number}", attempt, Decimal(paid))
    return refused(BadRow(number, place.id, "not_an_image", "no picture"), place, QUESTION)


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["row"] for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@given(cut=st.integers(1, 400))
def test_a_torn_line_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Any rest that a crash left behind the last whole line goes, and nothing before it."""
    path = tmp_path_factory.mktemp("torn") / "out.jsonl"
    lines = [to_line(row(number)) for number in range(3)]
    path.write_bytes(b"".join(lines[:2]) + lines[2][: min(cut, len(lines[2]) - 1)])
    with closing(Record(path)) as record:
        record.begin()
        assert record.index.count() == (2, 2)
        record.append([row(7)])
    assert numbers(path) == [0, 1, 7]


def test_a_foreign_line_is_refused(path: Path) -> None:
    """A file that is no record is left alone, and the line is named."""
    path.write_text('{"id": 1}\n')
    with pytest.raises(RecordRefused, match="line 1 is not a row"):
        Record(path)
    assert path.read_text() == '{"id": 1}\n'


def test_two_runs_do_not_share_a_record(path: Path) -> None:
    """The second is refused while the first has it, and may have it afterwards."""
    with closing(Record(path)), pytest.raises(RecordRefused, match="another run is writing it"):
        Record(path)
    Record(path).close()


@pytest.mark.parametrize(
    "other",
    [
        Question(Prompt("Why?"), {"model": "m1"}),
        Question(Prompt("What?"), {"model": "m2"}),
        Question(Prompt("What?"), {"model": "m1", "detail": "low"}),
        Question(Prompt("What?"), {"model": "m1", "answer_schema": {"type": "object"}}),
    ],
)
def test_another_question_is_refused(path: Path, other: Question) -> None:
    """Answers to another prompt, model, detail or schema do not come into the same file."""
    with closing(Record(path)) as record:
        record.append([row(1)])
    with closing(Record(path)) as record:
        record.check(QUESTION.fingerprint)
        with pytest.raises(RecordRefused, match="--fresh"):
            record.check(other.fingerprint)


@pytest.mark.parametrize(
    ("held", "simulates", "refused"),
    [
        (True, False, "contains 1 rows of the simulator, and now a model would answer"),
        (False, True, "contains 1 answers of a model, and now the simulator would answer"),
        (True, True, None),
        (False, False, None),
        (True, None, None),
        (False, None, None),
    ],
)
def test_simulated_and_real_answers_do_not_mix(
    path: Path, refused: str | None, *, held: bool, simulates: bool | None
) -> None:
    """A file of the one does not take the other, where it is known which are to come."""
    with closing(Record(path)) as record:
        record.append([row(1) | {"error": None, "simulated": held}])
    with closing(Record(path)) as record:
        if refused is None:
            record.check_origin(simulates=simulates)
            return
        with pytest.raises(RecordRefused, match=refused):
            record.check_origin(simulates=simulates)


def test_a_full_disk_is_told_before_anything_is_paid(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run does not begin where no row has room, and says where there is too little for all."""
    usage = shutil.disk_usage(path.parent)
    with closing(Record(path)) as record:
        assert record.room_is_short(1) is None
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3_000_000))
        record.begin()
        assert "about 9 MB, and 3 MB are free" in (record.room_is_short(10_000) or "")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
        with pytest.raises(RecordFailed, match="the disk is full; make room"):
            record.begin()


def test_limits_do_not_make_another_question() -> None:
    """A longer answer, another surface or tenant may go on with the same file."""
    more = {"max_output_tokens": 99, "api": "chat_completions", "tenant": "t", "detail": "auto"}
    assert Question(Prompt("What?"), {"model": "m1", **more}).fingerprint == QUESTION.fingerprint


def test_a_fresh_beginning_keeps_what_there_was(path: Path) -> None:
    """`--fresh` empties OUT only once it begins, and leaves a copy."""
    with closing(Record(path)) as record:
        record.append([row(1)])
    with closing(Record(path, fresh=True)) as record:
        record.check("another")
        assert numbers(path) == [1]
        record.begin()
        assert numbers(path) == []
        record.append([row(2)])
    assert numbers(path) == [2]
    assert numbers(path.with_name("out.jsonl.bak")) == [1]


def test_a_full_disk_leaves_whole_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails in the middle is taken back, and said in one line."""
    real = os.pwrite
    with closing(Record(path)) as record:
        record.append([row(1)])

        def full(descriptor: int, content: memoryview, start: int) -> int:
            if len(content) < 100:
                raise OSError(28, "No space left on device")
            return real(descriptor, content[:-50], start)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(RecordFailed, match="the disk is full"):
            record.append([row(2)])
        monkeypatch.undo()
        assert numbers(path) == [1]
        record.append([row(3)])
    assert numbers(path) == [1, 3]


def test_a_file_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    """A missing folder is named in one line."""
    with pytest.raises(RecordRefused, match=r"there is no folder .*none: create it"):
        Record(tmp_path / "none" / "out.jsonl")


@pytest.mark.parametrize(("ordered", "wanted"), [(False, [3, 2, 1]), (True, [1, 2, 3])])
def test_the_last_attempt_of_a_row_stays(path: Path, wanted: list[int], *, ordered: bool) -> None:
    """In the end each row is there once: as it was answered last, in order if wished for."""
    with closing(Record(path)) as record:
        record.append([row(1), row(3), row(2)])
        record.append([row(1, attempt=2, paid="1.5")])
        record.settle(ordered=ordered)
        assert numbers(path) == wanted
        assert record.index.paid() == Decimal("1.5")
        # What is read afterwards is read from the file that the index knows.
        assert [one["row"] for one in record.rows(ordered=True)] == [1, 2, 3]
    with open_rows(path) as rows:
        assert {one["row"]: one["attempt"] for one in rows} == {1: 2, 2: 1, 3: 1}


def test_order_follows_the_source(path: Path) -> None:
    """Pictures that came later between the others find their place, by the numbers of today."""
    with closing(Record(path)) as record:
        record.append([row(1), row(2)])
        entry = record.index.find("row 1", 9)
        assert entry is not None
        assert entry.number == 1
        record.settle(ordered=True)
    assert numbers(path) == [2, 1]


def test_nothing_is_left_of_a_run_that_did_not_begin(path: Path) -> None:
    """A file in which nothing is goes, so that a quote that was declined leaves none."""
    Record(path).close()
    assert not path.exists()
