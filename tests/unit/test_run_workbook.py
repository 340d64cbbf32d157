"""Workbooks made of a record: kinds of cells, links, thumbnails, and whose file it is."""

from __future__ import annotations

import json
import tracemalloc
from datetime import datetime
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from click.testing import CliRunner
from PIL import Image

from producer.outputs import check_table
from producer.prompts import Prompt
from producer.run.export_command import export as export_command
from producer.run.plan import Question
from producer.run.run_record import RowAttempt, refused, to_line
from producer.run.table import TableForm, check_kind, export
from producer.sources import BadRow
from visionq.errors import RecordRefused

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = Question(Prompt("What?"), {"model": "m1"})


def row(number: int, file: str = "", **fields: Any) -> dict[str, Any]:
    place = RowAttempt(number, str(number), file=file, columns={"sku": f"00{number}"})
    bad = BadRow(number, place.id, "not_an_image", "no picture")
    return refused(bad, place, QUESTION) | fields


def sheet_of(path: Path) -> Any:
    return openpyxl.load_workbook(path)["answers"]


def cells_of(path: Path, number: int = 1) -> dict[str, Any]:
    """Return column → cell of a row."""
    rows = list(sheet_of(path).iter_rows())
    return {head.value: cell for head, cell in zip(rows[0], rows[number], strict=True)}


def test_numbers_are_numbers(tmp_path: Path) -> None:
    """Rubles, counts and moments can be added up and sorted; a code with zeros stays text."""
    answer = row(
        1,
        text="Да",
        data={"price": 5, "large": 10**17, "is_new": True},
        error=None,
        cost_rub="0.0547734",
        finished_at="2026-12-01T09:00:00.500+00:00",
    )
    export([answer], tmp_path / "out.xlsx")
    cells = cells_of(tmp_path / "out.xlsx")
    assert cells["cost_rub"].value == pytest.approx(0.0547734)
    assert (cells["data.price"].value, cells["data.is_new"].value) == (5, True)
    assert cells["data.large"].value == str(10**17)  # a spreadsheet would round it
    assert cells["finished_at"].value == datetime(2026, 12, 1, 12, 0, 0, 500_000)  # noqa: DTZ001  # Moscow
    assert (cells["sku"].value, cells["text"].value) == ("001", "Да")


@pytest.mark.parametrize(
    "text", ["=1+1", "@SUM(A1)", "http://example.org/", "-1", "\ud800", "\x01"]
)
def test_an_answer_is_text(tmp_path: Path, text: str) -> None:
    """A model's answer becomes neither a formula nor a link."""
    export([row(1, text=text, error=None)], tmp_path / "out.xlsx")
    cell = cells_of(tmp_path / "out.xlsx")["text"]
    assert (cell.data_type, cell.hyperlink) == ("s", None)


def test_a_long_answer_is_cut(tmp_path: Path) -> None:
    """A text beyond what a cell can hold is cut; the record has it whole."""
    export([row(1, text="я" * 40_000, error=None)], tmp_path / "out.xlsx")
    assert len(cells_of(tmp_path / "out.xlsx")["text"].value) == 32_767


def test_links_lead_to_pictures(tmp_path: Path) -> None:
    """`file` links to an address, or to a local file that is there."""
    (tmp_path / "a b.jpg").write_bytes(b"x")
    rows = [row(1, "a b.jpg"), row(2, "https://example.org/1.jpg"), row(3, "absent.jpg")]
    export(rows, tmp_path / "out.xlsx", TableForm(pictures=tmp_path))
    links = [cells_of(tmp_path / "out.xlsx", number)["file"].hyperlink for number in (1, 2, 3)]
    assert links[0].target.endswith("a%20b.jpg")
    assert links[1].target == "https://example.org/1.jpg"
    assert links[2] is None


def test_thumbnails(tmp_path: Path) -> None:
    """A picture is shown in its row; a broken file leaves its cell empty."""
    Image.new("RGB", (900, 300), "red").save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"%!PS")
    rows = [row(1, "1.png; 2.png"), row(2, "2.png")]
    export(rows, tmp_path / "out.xlsx", TableForm(pictures=tmp_path, thumbnails=True))
    (shown,) = sheet_of(tmp_path / "out.xlsx")._images
    assert (shown.anchor._from.row, shown.width, shown.height) == (1, 96, 32)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".visionq")]


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """Ten times the rows take no more memory."""

    def peak(count: int) -> int:
        tracemalloc.start()
        export(rows_of(count), tmp_path / f"{count}.xlsx")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(3_000) < 1.2 * peak(300)


class rows_of:  # noqa: N801  # reads like a function
    """Rows that are made each time they are read."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Any:
        return (row(number, text="ok", error=None) for number in range(1, self.count + 1))


def test_only_our_workbooks_are_replaced(tmp_path: Path) -> None:
    """A workbook that visionq did not write is refused by name; ours is replaced."""
    theirs = tmp_path / "theirs.xlsx"
    openpyxl.Workbook().save(theirs)
    before = theirs.read_bytes()
    with pytest.raises(RecordRefused, match=r"theirs\.xlsx: visionq did not write"):
        export([row(1)], theirs)
    (tmp_path / "text.xlsx").write_text("no archive")
    with pytest.raises(RecordRefused, match="visionq did not write"):
        check_table(tmp_path / "text.xlsx")
    assert theirs.read_bytes() == before
    export([row(1)], tmp_path / "ours.xlsx")
    export([row(2)], tmp_path / "ours.xlsx")
    assert cells_of(tmp_path / "ours.xlsx")["id"].value == "2"


def test_only_workbooks_show_pictures(tmp_path: Path) -> None:
    """Thumbnails in a CSV are refused before anything is asked."""
    with pytest.raises(RecordRefused, match="leave out --thumbnails"):
        check_kind(tmp_path / "out.csv", TableForm(thumbnails=True))


@pytest.mark.parametrize("ending", ["xlsx", "jsonl", "csv", "parquet"])
def test_any_out_becomes_any_other(tmp_path: Path, ending: str) -> None:
    """`visionq export` takes the table or the record, and writes every form."""
    (tmp_path / "out.jsonl").write_bytes(to_line(row(1)) + to_line(row(1, text="later")))
    export([row(1)], tmp_path / "out.csv")
    arguments = [str(tmp_path / "out.csv"), "-o", str(tmp_path / f"new.{ending}")]
    done = CliRunner().invoke(export_command, arguments, standalone_mode=False)
    assert done.exception is None, done.exception
    content = (tmp_path / f"new.{ending}").read_bytes()
    assert content
    if ending == "jsonl":
        assert content == to_line(row(1, text="later") | {"finished_at": _moment(content)})


def _moment(line: bytes) -> str:
    found: str = json.loads(line)["finished_at"]
    return found
