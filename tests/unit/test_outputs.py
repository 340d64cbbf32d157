"""What commands write takes the place of nothing that someone else has written."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from producer.outputs import check_table
from producer.run.export_command import export as export_command
from producer.run.plan import RunOptions, make_plan
from producer.run.run_record import Record, to_line
from producer.run.table import TableForm, as_old_as, export, keep_changed
from producer.sources import SourceOptions
from tests.unit.test_run_export import ROWS
from visionq.errors import RecordRefused
from visionq.settings import Settings
from visionq.user_files import free_name

if TYPE_CHECKING:
    from pathlib import Path

GOODS = "id;image\n1;a.jpg\n"


def planned(source: Path, out: Path, **asked: Any) -> None:
    make_plan(
        str(source),
        RunOptions(out),
        source_options=SourceOptions(),
        asked={"prompt": "What?", "model": "gpt-5.4-mini", **asked},
        settings=Settings(),
        stdin=io.BytesIO(),
    )


@pytest.fixture
def goods(tmp_path: Path) -> Path:
    path = tmp_path / "goods.csv"
    path.write_text(GOODS)
    return path


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_no_run_overwrites_its_source(goods: Path, link: str | None) -> None:
    """OUT may not be SOURCE, by its own name or by a link of either kind."""
    out = goods
    if link is not None:
        out = goods.with_name("answers.csv")
        getattr(out, link)(goods)
    with pytest.raises(RecordRefused, match="this is the input"):
        planned(goods, out)
    assert goods.read_text() == GOODS


@pytest.mark.parametrize("name", ["prompt_file", "schema"])
def test_no_run_overwrites_what_it_reads(goods: Path, name: str) -> None:
    """Nor may OUT be the file of the prompt or of the schema."""
    given = goods.with_name("given.jsonl")
    given.write_text("{}")
    with pytest.raises(RecordRefused, match="this is the input"):
        planned(goods, given, **{name: given})


@pytest.mark.parametrize("name", ["other.csv", "other.parquet", "folder.csv"])
def test_no_table_of_others_is_overwritten(goods: Path, name: str) -> None:
    """A table without visionq's columns is left alone: it is reported before anything is paid."""
    other = goods.with_name(name)
    if name.startswith("folder"):
        other.mkdir()
    else:
        other.write_bytes(b"PAR1 id text PAR1" if name.endswith("t") else b"id,text,cost_rub\n")
    with pytest.raises(RecordRefused, match="visionq did not write this file"):
        planned(goods, other)
    with pytest.raises(RecordRefused, match="visionq did not write this file"):
        export(ROWS, other)
    assert not [path for path in other.parent.iterdir() if ".part" in path.name]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_ours_is_replaced(tmp_path: Path, suffix: str) -> None:
    """A command may overwrite its own earlier output, in any form."""
    out = tmp_path / f"out.{suffix}"
    export(ROWS, out, TableForm(delimiter=";", technical=False, keeps_texts=True))
    check_table(out)
    export(ROWS[:1], out)
    check_table(out)


def test_changes_in_a_table_are_kept(tmp_path: Path) -> None:
    """A table that was edited since it was made goes to a free name, an untouched one does not."""
    record, out = tmp_path / "out.jsonl", tmp_path / "out.csv"
    record.write_bytes(b"".join(map(to_line, ROWS)))

    def exported() -> str:
        done = CliRunner().invoke(export_command, [str(record), "-o", str(out)])
        assert done.exit_code == 0, done.output
        return done.stderr

    assert exported() == exported() == ""
    assert keep_changed(out, record) is None
    corrected = out.read_text("utf-8-sig").replace("Да", "Нет")
    out.write_text(corrected)
    os.utime(out, ns=(0, record.stat().st_mtime_ns + 1_000_000_000))
    (tmp_path / "out.csv.bak").write_text("of somebody")
    assert "kept as out.csv.bak2" in exported()
    assert (tmp_path / "out.csv.bak2").read_text() == corrected
    assert (tmp_path / "out.csv.bak").read_text() == "of somebody"
    as_old_as(out, record)
    # Where the record is gone, or begun again, the table is all that there is.
    exported()
    assert keep_changed(out, record) is None
    assert "is of another record: it is kept as out.csv.bak3" in str(
        keep_changed(out, record, begins=True)
    )


@pytest.mark.parametrize(
    "content", [b'{"sku": 1}', b"[" * 100_000 + b"\n", b"id,image\n", b'{"id": 1}\n', b"notes"]
)
@pytest.mark.parametrize("fresh", [False, True])
def test_no_record_of_others_is_overwritten(tmp_path: Path, content: bytes, *, fresh: bool) -> None:
    """A JSONL that no run has written is refused, whether its last line has an end or not."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordRefused, match="line 1 is not a row"):
        Record(path, fresh=fresh)
    assert path.read_bytes() == content


def test_free_names(tmp_path: Path) -> None:
    """A name that is taken, be it by a dangling link, is not given."""
    path = tmp_path / "a"
    assert free_name(path).name == "a.bak"
    (tmp_path / "a.bak").symlink_to("nowhere")
    assert free_name(path).name == "a.bak2"


def test_a_column_that_is_not_there_is_told(goods: Path) -> None:
    """`--column` is held against the columns of SOURCE before anything is paid."""
    with pytest.raises(click.BadParameter, match="no column 'price'; there are: 'id', 'image'"):
        make_plan(
            str(goods),
            RunOptions(goods.with_name("out.csv"), form=TableForm(columns=("price",))),
            source_options=SourceOptions(),
            asked={"prompt": "What?", "model": "gpt-5.4-mini"},
            settings=Settings(),
            stdin=io.BytesIO(),
        )
