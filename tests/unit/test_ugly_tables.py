"""Tables, names and rows as people have them: understood or reported, never the end of a run."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer.prompts import Prompt
from producer.quote import QuotePlan, take_census
from producer.run.feeder import Feeder
from producer.run.plan import Question
from producer.run.run_record import Record, to_line
from producer.run.selection import Selection
from producer.sources import BadRow, Row, SourceOptions, open_source
from producer.sources.picture_addresses import addresses_in
from tests.support.ugly_tables import ADDRESSES, ROWS, TABLES, Table
from visionq.errors import InvalidSource
from visionq.pricing.vision import load_rules
from visionq.settings import Settings

RULES = load_rules()
GIF = base64.b64decode("R0lGODlhAQABAAAAACwAAAAAAQABAAA7")


def laid(folder: Path, table: Table) -> Path:
    path = folder / "table.csv"
    path.write_bytes(table.text.encode(table.encoding))
    for name in table.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(GIF)
    return path


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_understood(tmp_path: Path, table: Table) -> None:
    """Its rows have the ids and pictures that were meant, and it says by which columns."""
    source = open_source(str(laid(tmp_path, table)))
    rows = list(source.rows())
    assert {row.id for row in rows if isinstance(row, BadRow)} == set(table.bad)
    found = {row.id: row.images for row in rows if isinstance(row, Row)}
    assert found == {
        row_id: tuple(str(tmp_path / name) for name in names)
        for row_id, names in table.rows.items()
    }
    assert "pictures: " in source.description
    assert table.said in source.description


@pytest.mark.parametrize("cell", ADDRESSES)
def test_addresses_in_a_cell(tmp_path: Path, cell: str) -> None:
    """Usual separators part addresses; what may be in one does not."""
    found = addresses_in(cell, tmp_path)
    assert len(found) == ADDRESSES[cell]
    assert all(not set(one.located) & set(" |\n\ufeff") for one in found)


@pytest.mark.parametrize("name", ["й.jpg", "новая папка/1.jpg"])
def test_an_address_of_a_file(tmp_path: Path, name: str) -> None:
    """`file://` is a path, with `%20` and all."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(GIF)
    (found,) = addresses_in(path.as_uri(), Path("/elsewhere"))
    assert found.located == str(path)
    (found,) = addresses_in("file:///C:/photos/a.jpg", tmp_path)
    assert found.located == str(tmp_path / "C:/photos/a.jpg")


def test_a_workbook_is_called_one(tmp_path: Path) -> None:
    """A file of Excel is named for what it is, with what to do, under any name."""
    for name, inside, said in (
        ("goods.xlsx", "xl/workbook.xml", "an Excel workbook (.xlsx): save the sheet as CSV UTF-8"),
        ("goods.csv", "xl/workbook.xml", "an Excel workbook (.xlsx)"),
        ("goods.ods", "content.xml", "an OpenDocument spreadsheet"),
        ("photos.zip", "a.jpg", "a ZIP archive: unpack it"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("[Content_Types].xml", "x" * 9000)
            archive.writestr(inside, "x")
        with pytest.raises(InvalidSource) as raised:
            open_source(str(tmp_path / name))
        assert said in raised.value.message


def test_what_systems_leave_is_passed_over_and_told(tmp_path: Path) -> None:
    """Thumbnails of a NAS, a Mac's copies and deleted files are no pictures of anybody."""
    names = (
        *("a.jpg", "b/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/c.jpg", ".thumbnails/d.jpg"),
        *("__MACOSX/._a.jpg", "b/._e.jpg", "b/Thumbs.db", "b/f.jpg", "b/notes.txt"),
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(GIF)
    for spec in (tmp_path, tmp_path / "**"):
        source = open_source(str(spec))
        taken = [row.id for row in source.rows()]
        assert [name for name in taken if name.endswith(".jpg")] == ["a.jpg", "b/f.jpg"]
        assert source.passed_over == {
            "@eaDir": 1, "#recycle": 1, "__MACOSX": 1, "hidden": 2, "Thumbs.db": 1,
        }  # fmt: skip


def test_rows_of_one_id_are_grouped(tmp_path: Path) -> None:
    """Photos of one product, in any place, are one row in the place of the first."""
    path = tmp_path / "goods.csv"
    path.write_text(
        "sku;image;name\n2;b.jpg;B\n1;a1.jpg;A\n3;;C\n1;a2.jpg;\n3;c.jpg;\n1;a3.jpg;A\n"
    )
    rows = list(open_source(str(path), options=SourceOptions(group=True)).rows())
    assert [(row.number, row.id) for row in rows] == [(1, "2"), (2, "1"), (3, "3")]
    first, second, third = rows
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert second.images == tuple(str(tmp_path / name) for name in ("a1.jpg", "a2.jpg", "a3.jpg"))
    assert (second.variables["name"], second.file) == ("A", "a1.jpg; a2.jpg; a3.jpg")
    assert isinstance(third, BadRow)
    assert third.message == "line 4: image: empty"
    with pytest.raises(InvalidSource, match="--group"):
        list(open_source(str(path)).rows())
    path.write_text("image\na.jpg\n")
    with pytest.raises(InvalidSource, match="--group needs a column of ids"):
        open_source(str(path), options=SourceOptions(group=True))


def run_through(folder: Path, source: Any) -> list[dict[str, Any]]:
    """Quote the rows and make jobs of them, as `run` does; return the rows that became none."""
    question = Question(Prompt("Is it {name}?"), {"model": "gpt-5.4-mini"})
    rows = list(source)
    take_census(rows, QuotePlan(Settings(), RULES, question.prompt, question.options))
    with closing(Record(folder / "out.jsonl", fresh=True)) as record:
        parts: dict[str, Any] = dict.fromkeys(("window", "submitter", "before"))
        selection = Selection(record.index, question.prompt, record.row)
        feeder = Feeder(rows, question, "run-1", Settings(), selection=selection, **parts)
        for row in rows:
            feeder._begin(row, record.index.find(row.id, row.number))
            while not feeder._rows.empty():
                ready = feeder._drafted(*feeder._rows.get())
                assert ready is None or ready.draft.job.document.to_compact_json().encode()
        ended = feeder.take_ended(len(rows))
        record.begin()
        record.append(ended)
    for row in ended:
        json.loads(to_line(row))
    return ended


def test_no_ugly_row_ends_a_run(tmp_path: Path) -> None:
    """Of a table of such rows each is asked or reported, by its line, and the last one comes."""
    (tmp_path / "a.jpg").write_bytes(GIF)
    lines = ['{"id": "first", "image": "a.jpg", "name": "x"}', *ROWS]
    lines.append('{"id": "last", "image": "a.jpg", "name": "x"}')
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = list(open_source(str(tmp_path / "rows.jsonl")).rows())
    assert len(rows) == len(lines)
    ended = run_through(tmp_path, rows)
    codes = {row["id"]: row["error"]["code"] for row in ended}
    assert "last" not in codes
    assert "half a value" not in codes
    assert codes["half a path"] == codes["nothing in a path"] == "file_not_found"
    assert codes["tilde"] == codes["tilde file"] == codes["long name"] == "file_not_found"
    assert codes["many"] == "invalid_job"


# Half a character, what is not seen, separators, schemes: all that parsers stumble over.
_TEXT = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\ud800\udfff\0\ufeff\u200b~\\/|;,\"'\n\r\t#%:@[]{}"),
    ),
    max_size=40,
)
_ADDRESS = st.one_of(
    _TEXT,
    st.builds("{}{}".format, st.sampled_from(["file://", "https://", "s3:", "data:", "~"]), _TEXT),
)
_VALUE = st.recursive(
    st.one_of(_ADDRESS, st.none(), st.booleans(), st.integers(), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=2)),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries({"id": _VALUE, "image": _VALUE, "name": _VALUE}), max_size=5))
def test_no_value_of_a_jsonl_ends_a_run(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    """With any JSON in a row, all rows come, and each becomes a job or an error."""
    records.append({"id": "the last", "image": "a.jpg", "name": "x"})
    numbered = [{**one, "id": [number, one["id"]]} for number, one in enumerate(records)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, numbered)), encoding="utf-8")
    rows = list(open_source(str(tmp_path / "rows.jsonl")).rows())
    assert len(rows) == len(records)
    run_through(tmp_path, rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_ADDRESS, _TEXT), max_size=5))
def test_no_cell_of_a_csv_ends_a_run(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    """With any cells in a table that a program wrote, all rows come."""
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(["id", "image", "name"])
    table.writerows((f"id {number}", *row) for number, row in enumerate([*cells, ("a.jpg", "x")]))
    content = written.getvalue().replace("\0", " ").encode("utf-8", "replace")
    (tmp_path / "rows.csv").write_bytes(content)
    rows = list(open_source(str(tmp_path / "rows.csv")).rows())
    assert [row.id for row in rows] == [f"id {number}" for number in range(len(cells) + 1)]
    run_through(tmp_path, rows)


def test_a_cell_that_takes_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell without an end is reported with its first line, before memory runs out."""
    monkeypatch.setattr("producer.sources.manifest._LONGEST_CELL", 1000)
    path = tmp_path / "table.csv"
    path.write_text('id,image,name\n1,a.jpg,x\n2,b.jpg,"' + "x,\n" * 600)
    with pytest.raises(InvalidSource, match="more than 1,000 characters begins at line 3"):
        list(open_source(str(path)).rows())
    path.write_text('id,image,name\n1,a.jpg,x\n2,b.jpg,"x\n3,c.jpg,y\n')
    with pytest.raises(InvalidSource, match="lines 3 to 4: unexpected end"):
        list(open_source(str(path)).rows())


def test_a_line_without_an_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a line that is too long no more is read than shows it, and the next ones come."""
    monkeypatch.setattr("producer.sources.text_file.MOST_CHARACTERS", 1000)
    monkeypatch.setattr("producer.sources.manifest.MOST_CHARACTERS", 1000)
    path = tmp_path / "rows.jsonl"
    lines = ['{"image": "a.jpg"}', '{"image": "' + "b" * 5_000 + '.jpg"}', '{"image": "c.jpg"}']
    path.write_text("\n".join(lines))
    rows = list(open_source(str(path)).rows())
    assert [row.id for row in rows] == ["a.jpg", "line 2", "c.jpg"]
