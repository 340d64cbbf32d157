"""Tables made of a record: what is in them, and what a spreadsheet may not run."""

from __future__ import annotations

import csv
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from arro3.io import read_parquet
from click.testing import CliRunner

from producer.prompts import Prompt
from producer.run.export_command import export as export_command
from producer.run.plan import Question
from producer.run.run_record import RowAttempt, refused, to_line
from producer.run.table import TableForm, export, record_path
from producer.sources import BadRow, Row, open_source
from visionq.errors import RecordFailed, RecordRefused

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = Question(Prompt("What?"), {"model": "m1"})


def row(number: int, **fields: Any) -> dict[str, Any]:
    bad = BadRow(number, f"{number}.png", "not_an_image", "no picture")
    return refused(bad, RowAttempt(number, bad.id), QUESTION) | fields


ROWS = [
    row(1, text="=1+1", data={"brand": "Ё", "price": 5, "size": {"w": 1}}, error=None),
    row(2, text="Да\nИли", data={"brand": None, "price": 1.5, "new": True}, error=None),
    row(3, cost_rub="0.25", pictures=["a" * 64, "b" * 64]),
]


def read(path: Path, **options: Any) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, **options))


def test_csv(tmp_path: Path) -> None:
    """Fields of the answer are columns, what is nested is JSON, and an error has two."""
    export(ROWS, tmp_path / "out.csv")
    one, two, three = read(tmp_path / "out.csv")
    assert (one["data.brand"], one["data.price"], one["data.size"]) == ("Ё", "5.0", '{"w": 1}')
    assert (two["text"], two["data.brand"], two["data.new"]) == ("Да\nИли", "", "true")
    assert (three["error_code"], three["cost_rub"]) == ("not_an_image", "0.25")
    assert three["pictures"] == f"{'a' * 64}; {'b' * 64}"
    assert (one["id"], one["cached"], one["row"]) == ("1.png", "false", "1")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_spreadsheet_runs_no_answer(tmp_path: Path, text: str) -> None:
    """A model's text is no formula, neither in a cell nor in the name of a column."""
    export([row(1, text=text, data={text: text}, error=None)], tmp_path / "out.csv")
    (found,) = read(tmp_path / "out.csv")
    assert found["text"] == found[f"data.{text}"] == f"'{text}"


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    """A number of the answer that is less than nothing is no formula."""
    export([row(1, data={"t": -5}, error=None)], tmp_path / "out.csv")
    assert read(tmp_path / "out.csv")[0]["data.t"] == "-5"


def test_for_excel_and_for_others(tmp_path: Path) -> None:
    """The mark that Excel needs is first, unless it is left out; the delimiter is chosen."""
    export(ROWS, tmp_path / "a.csv")
    export(ROWS, tmp_path / "b.csv", TableForm(delimiter=";", bom=False))
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbfid,")
    assert (tmp_path / "b.csv").read_bytes().startswith(b"id;")


def test_parquet(tmp_path: Path) -> None:
    """Columns have kinds; what is of several kinds, nested or too large for 64 bits is text."""
    more = [*ROWS, row(4, data={"price": None, "new": None, "large": 2**70}, error=None)]
    export(more, tmp_path / "out.parquet")
    table = read_parquet(tmp_path / "out.parquet").read_all()
    values = {
        name: [None if one is None else str(one) for one in table.column(name).to_pylist()]
        for name in table.schema.names
    }
    assert values["data.price"] == ["5.0", "1.5", None, None]
    assert values["data.new"] == [None, "True", None, None]
    assert values["data.large"] == [None, None, None, str(2**70)]
    assert values["error_code"] == [None, None, "not_an_image", None]
    assert values["row"] == ["1", "2", "3", "4"]
    assert table.column("cost_rub").to_pylist() == [
        Decimal(0),
        Decimal(0),
        Decimal("0.25"),
        Decimal(0),
    ]


def test_answers_without_fields(tmp_path: Path) -> None:
    """An answer that is a list is in one column as JSON."""
    export([row(1, data=[1, "два"], error=None)], tmp_path / "out.csv")
    assert read(tmp_path / "out.csv")[0]["data"] == '[1, "два"]'


def test_where_the_record_is(tmp_path: Path) -> None:
    """The JSONL is beside a table; an unknown ending is refused before anything is paid."""
    assert record_path(tmp_path / "a.CSV") == tmp_path / "a.jsonl"
    assert record_path(tmp_path / "a.jsonl") == tmp_path / "a.jsonl"
    with pytest.raises(RecordRefused, match=r"\.jsonl, \.csv, \.xlsx or \.parquet"):
        record_path(tmp_path / "a.xls")


def test_a_table_that_can_not_be_written(tmp_path: Path) -> None:
    """It is reported in one line, and nothing half-written stays."""
    with pytest.raises(RecordFailed, match="can't be written"):
        export(ROWS, tmp_path / "none" / "out.csv")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path) -> None:
    """`visionq export` makes a table of a record whose last line is torn."""
    record = tmp_path / "out.jsonl"
    record.write_bytes(b"".join(map(to_line, reversed(ROWS))) + b'{"id":')
    out = tmp_path / "out.csv"
    arguments = [str(record), "-o", str(out), "--csv-delimiter", "tab", "--ordered"]
    done = CliRunner().invoke(export_command, arguments, standalone_mode=False)
    assert done.exception is None, done.exception
    assert [one["row"] for one in read(out, delimiter="\t")] == ["1", "2", "3"]


def with_columns(number: int, columns: dict[str, str], **fields: Any) -> dict[str, Any]:
    place = RowAttempt(number, columns.get("id", str(number)), file="a.jpg; b.jpg", columns=columns)
    bad = BadRow(number, place.id, "not_an_image", "no picture")
    return refused(bad, place, QUESTION) | fields


SOLD = [
    with_columns(1, {"id": "007", "Название": "Чайник", "text": "old"}, text="new"),
    with_columns(2, {"id": "8", "Цена": "1.5"}, text="other"),
]


def test_a_table_has_the_columns_of_its_source(tmp_path: Path) -> None:
    """They are behind id and file; one with a name of visionq is distinguished."""
    out = tmp_path / "out.csv"
    export(SOLD, out)
    one, two = read(out)
    assert list(one)[:7] == ["id", "file", "Название", "source.text", "Цена", "text", "cost_rub"]
    assert (one["id"], one["file"], one["Название"]) == ("007", "a.jpg; b.jpg", "Чайник")
    assert (one["source.text"], one["text"]) == ("old", "new")
    assert (two["Название"], two["Цена"]) == ("", "1.5")
    export(SOLD, out, TableForm(columns=("Цена",)))
    assert list(read(out)[0])[:4] == ["id", "file", "Цена", "text"]
    assert list(read(out)[0])[-1] == "finished_at"
    export(SOLD, out, TableForm(columns=(), technical=False))
    assert list(read(out)[0]) == [
        "id", "file", "text", "cost_rub", "cached", "near", "error_code", "error_message",
        "simulated", "warnings",
    ]  # fmt: skip


def test_no_two_columns_have_one_name(tmp_path: Path) -> None:
    """A source may be a table of visionq, with `source.` columns of its own."""
    sold = {"text": "older", "source.text": "oldest"}
    export([row(1, text="new", error=None, columns=sold)], tmp_path / "out.csv")
    (found,) = read(tmp_path / "out.csv")
    assert (found["text"], found["source.source.text"], found["source.text"]) == (
        "new", "older", "oldest",
    )  # fmt: skip


def test_a_record_without_columns_is_exported(tmp_path: Path) -> None:
    """Rows that an earlier version wrote have neither file nor columns."""
    old = {name: value for name, value in ROWS[0].items() if name not in ("file", "columns")}
    export([old], tmp_path / "out.csv")
    assert read(tmp_path / "out.csv")[0]["file"] == ""


def test_a_russian_spreadsheet_counts(tmp_path: Path) -> None:
    """With `;` rubles and fractions have a decimal comma, and moments are dates of one's zone."""
    known = row(
        1, cost_rub="0.25", data={"price": 1.5}, finished_at="2026-11-29T21:30:05.123+00:00"
    )
    export([known], tmp_path / "out.csv", TableForm(delimiter=";"))
    (found,) = read(tmp_path / "out.csv", delimiter=";")
    assert (found["cost_rub"], found["data.price"]) == ("0,25", "1,5")
    assert found["finished_at"] == "2026-11-30 00:30:05"
    export([known], tmp_path / "out.csv")
    (found,) = read(tmp_path / "out.csv")
    assert (found["cost_rub"], found["data.price"]) == ("0.25", "1.5")
    assert found["finished_at"] == known["finished_at"]


CHANGED = ("007", "4600000000000", "1-2", "1/2", "12.05", "1.5", "1e5", "+7 900 000-00-00",
           "5%", "12:30", "MAR1", "2 янв", "мая", "true", "1 000", "32.05.2026", "1.5.26",
           "01,5", "1,23456789012345")  # fmt: skip
UNCHANGED = ("7", "12,5", "52,50", "0,00", "0", "12.05.2026", "Чайник", "12 шт. в коробке", "a-1",
             "1 чашка", "марка 5 звёзд", "")  # fmt: skip


@pytest.mark.parametrize("text", [*CHANGED, *UNCHANGED])
def test_texts_that_excel_reinterprets(tmp_path: Path, text: str) -> None:
    """With `--excel` they stay texts, and a source reads them as what they are."""
    form = TableForm(delimiter=";", keeps_texts=True)
    out = tmp_path / "out.csv"
    export([with_columns(1, {"id": "x", "image": "a.jpg", "code": text}, text=text)], out, form)
    (found,) = read(out, delimiter=";")
    assert found["text"] == found["code"] == (f'="{text}"' if text in CHANGED else text)
    (again,) = open_source(str(out)).rows()
    assert isinstance(again, Row)
    assert again.variables["code"] == text


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (["--excel"], "id;file;text;cost_rub"),
        (["--excel", "--csv-delimiter", "tab", "--no-technical"], "id\tfile\ttext"),
        (["--no-columns"], "id,file,text"),
    ],
)
def test_the_options_of_a_table(tmp_path: Path, arguments: list[str], begins: str) -> None:
    """They are taken together; a delimiter of one's own goes before that of `--excel`."""
    record, out = tmp_path / "out.jsonl", tmp_path / "out.csv"
    record.write_bytes(to_line(row(1)))
    given = [str(record), "-o", str(out), *arguments]
    done = CliRunner().invoke(export_command, given, standalone_mode=False)
    assert done.exception is None, done.exception
    assert out.read_text("utf-8-sig").startswith(begins)
    wrong = [*given, "--column", "a", "--no-columns"]
    assert "either --column" in str(CliRunner().invoke(export_command, wrong).output)
