"""Pictures of one thing, grouped by their folder or by their names."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from producer.sources import Row, SourceOptions, open_source
from producer.sources.opening import take_source_options
from producer.sources.source import group_by
from visionq.errors import InvalidSource


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\xff\xd8\xff\xe0 and so on")
    return folder


def rows_of(folder: Path, text: str) -> dict[str, list[str]]:
    """Return id → names of the pictures of each row."""
    source = open_source(str(folder), options=SourceOptions(group_by=group_by(text)))
    return {row.id: list(row.given) for row in source.rows() if isinstance(row, Row)}


def test_a_folder_is_a_row(tmp_path: Path) -> None:
    """The pictures of a folder make one row, 2 before 10; loose pictures are rows themselves."""
    put(tmp_path, "mug/10.jpg", "mug/2.jpg", "cup/blue/1.jpg", "loose.jpg", "other.jpg")
    assert rows_of(tmp_path, "folder") == {
        "cup/blue": ["cup/blue/1.jpg"],
        "loose.jpg": ["loose.jpg"],
        "mug": ["mug/2.jpg", "mug/10.jpg"],
        "other.jpg": ["other.jpg"],
    }


def test_names_that_are_alike_are_a_row(tmp_path: Path) -> None:
    """Names with the same text in the parentheses make one row, wherever the folder lists them."""
    put(tmp_path, "mug_1.jpg", "mug_2.png", "cup_1.jpg", "mug_10.jpg", "plain.jpg", "mug-x_1.jpg")
    assert rows_of(tmp_path, r"(.+)_\d+") == {
        "cup": ["cup_1.jpg"],
        "mug-x": ["mug-x_1.jpg"],
        "mug": ["mug_1.jpg", "mug_2.png", "mug_10.jpg"],
        "plain.jpg": ["plain.jpg"],
    }


def test_the_id_fills_the_prompt(tmp_path: Path) -> None:
    """`{id}` is the group, `{folder}` its folder."""
    put(tmp_path, "mug/1.jpg", "mug/2.jpg")
    source = open_source(str(tmp_path), options=SourceOptions(group_by=group_by("folder")))
    (row,) = (row for row in source.rows() if isinstance(row, Row))
    assert row.variables == {"id": "mug", "file": "1.jpg", "folder": "mug"}
    assert [Path(image).name for image in row.images] == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(a", "regular expression"),
        (r".+_\d+", "in parentheses"),
        ("", "in par"),
        ("(a{99999999999999})", "regular"),
    ],
)
def test_an_unusable_expression_is_refused(text: str, said: str) -> None:
    """One line says what is wrong with the option."""
    with pytest.raises(click.BadParameter, match=said):
        take_source_options({"group_by": text})


def test_a_table_is_grouped_by_its_ids(tmp_path: Path) -> None:
    """A table names the option that it has instead."""
    (tmp_path / "list.csv").write_text("id,image\n1,a.jpg\n")
    with pytest.raises(InvalidSource, match=r"--group-by is for folders.*--group"):
        open_source(str(tmp_path / "list.csv"), options=SourceOptions(group_by=group_by("folder")))
