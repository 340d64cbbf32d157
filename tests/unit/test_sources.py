from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.prompts import Prompt, job_fields, prompt_for
from producer.sources import BadRow, Row, Source, SourceOptions, open_source
from producer.sources.source import Identities
from visionq.errors import InvalidJob, InvalidSource

JPEG = b"\xff\xd8\xff\xe0 and so on"


def put(folder: Path, *names: str, content: bytes = JPEG) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def text(folder: Path, name: str, content: str, encoding: str = "utf-8") -> str:
    path = folder / name
    path.write_bytes(content.encode(encoding))
    return str(path)


def good(source: Source) -> list[Row]:
    rows = list(source.rows())
    assert not [row for row in rows if isinstance(row, BadRow)], rows
    return [row for row in rows if isinstance(row, Row)]


def ids(spec: str | Path, **options: Any) -> list[str]:
    return [row.id for row in open_source(str(spec), options=SourceOptions(**options)).rows()]


def fault(spec: str | Path, **options: Any) -> str:
    with pytest.raises(InvalidSource) as raised:
        ids(spec, **options)
    assert "\n" not in str(raised.value)
    return raised.value.message


def test_a_folder_is_read_with_all_below_it(tmp_path: Path) -> None:
    """Pictures come in the order of their names; other files and hidden ones do not come."""
    put(tmp_path, "b.jpg", "a/2.PNG", "a/1.webp", "a/b/c.heic", "фото/я.jpg")
    put(tmp_path, "notes.txt", "a/list.csv", "README", content=b"text")
    put(tmp_path, ".hidden/x.jpg", "._b.jpg", "raw")
    (tmp_path / "loop").symlink_to(tmp_path)
    source = open_source(str(tmp_path))
    rows = good(source)
    assert [row.id for row in rows] == [
        "a/1.webp", "a/2.PNG", "a/b/c.heic", "b.jpg", "raw", "фото/я.jpg",
    ]  # fmt: skip
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[2].images == (str(tmp_path / "a/b/c.heic"),)
    assert rows[2].variables == {"id": "a/b/c.heic", "file": "c.heic", "folder": "a/b"}
    assert (source.total, source.skipped) == (6, 3)
    assert [row.id for row in source.rows()] == [row.id for row in rows]
    assert source.skipped == 3


def test_a_name_that_is_no_text_has_an_id_all_the_same(tmp_path: Path) -> None:
    """Bytes of a file name that are no UTF-8 are escaped in the id and kept in the path."""
    path = os.fsdecode(bytes(tmp_path) + b"/\xff.jpg")
    with open(path, "wb") as file:  # noqa: PTH123  # a name that is no text
        file.write(JPEG)
    (row,) = good(open_source(str(tmp_path)))
    assert row.id == "\\xff.jpg"
    assert row.images == (path,)
    json.dumps(row.id, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg", "b.jpg"]),
        ("?.jpg", ["a.jpg", "b.jpg"]),
        ("[ab].*", ["a.jpg", "b.jpg", "b.txt"]),
        ("*/*.jpg", ["x/c.jpg"]),
        ("**/*.jpg", ["a.jpg", "b.jpg", "x/c.jpg", "x/y/d.jpg"]),
        ("x/**", ["c.jpg", "y/d.jpg"]),
        ("**/y/*", ["x/y/d.jpg"]),
    ],
)
def test_a_glob_takes_what_matches(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    """Wildcards mean what they mean in a shell; ids are relative to the folder before them."""
    put(tmp_path, "a.jpg", "b.jpg", "b.txt", "x/c.jpg", "x/y/d.jpg")
    assert ids(tmp_path / pattern) == expected


def test_one_picture_is_a_source(tmp_path: Path) -> None:
    """A picture by its name is a row; a bracket in its name is no wildcard."""
    put(tmp_path, "a [1].jpg", "a 1.jpg")
    assert ids(tmp_path / "a [1].jpg") == ["a [1].jpg"]


@pytest.mark.parametrize("spec", ["a.jpg", "a.*"])
def test_what_is_not_named_is_not_passed_over(tmp_path: Path, spec: str) -> None:
    """Other files beside those that are named are not reported as passed over."""
    put(tmp_path, "a.jpg", "b.jpg", "notes.txt")
    source = open_source(str(tmp_path / spec))
    assert [row.id for row in good(source)] == ["a.jpg"]
    assert source.skipped == 0


@pytest.mark.parametrize(
    ("encoding", "delimiter"),
    [("utf-8", ","), ("utf-8-sig", ";"), ("cp1251", ";"), ("cp1251", "\t"), ("utf-8", "\t")],
)
def test_a_csv_is_understood(tmp_path: Path, encoding: str, delimiter: str) -> None:
    """Encoding and delimiter are found out; file names are relative to the manifest."""
    lines = ["артикул,Фото,Название", "7,я.jpg,Чайник «Ё»", "8,https://a.example/b.png,Чашка"]
    content = "\r\n".join(line.replace(",", delimiter) for line in lines)
    first, second = good(open_source(text(tmp_path, "m.csv", content, encoding)))
    assert (first.id, first.images) == ("7", (str(tmp_path / "я.jpg"),))
    assert first.variables == {"артикул": "7", "Фото": "я.jpg", "Название": "Чайник «Ё»"}
    assert (second.number, second.images) == (2, ("https://a.example/b.png",))


def test_a_csv_may_hold_lines_in_cells_and_several_pictures(tmp_path: Path) -> None:
    """A quoted cell goes over lines; numbered columns and JSON lists are several pictures."""
    content = 'id,image_1,image_2,note\n1,a.jpg,b.jpg,"two\nlines; 1,5"\n2,c.jpg,,\n'
    first, second = good(open_source(text(tmp_path, "m.csv", content)))
    assert [Path(image).name for image in first.images] == ["a.jpg", "b.jpg"]
    assert first.variables["note"] == "two\nlines; 1,5"
    assert [Path(image).name for image in second.images] == ["c.jpg"]
    listed = text(tmp_path, "l.csv", 'id;images\n1;"[""a.jpg"", ""b.jpg""]"\n')
    (row,) = good(open_source(listed))
    assert [Path(image).name for image in row.images] == ["a.jpg", "b.jpg"]


def test_columns_can_be_named(tmp_path: Path) -> None:
    """Options go before usual names; a column that is not there is reported with those that are."""
    path = text(tmp_path, "m.csv", "image,other,code\na.jpg,b.jpg,x\n")
    options = SourceOptions(image_columns=("other",), id_column="code")
    (row,) = good(open_source(path, options=options))
    assert (row.id, Path(row.images[0]).name) == ("x", "b.jpg")
    assert fault(path, id_column="nr").endswith(
        "no column 'nr'; the columns are: 'image', 'other', 'code'"
    )
    bare = text(tmp_path, "bare.csv", "a,b\n1,2\n")
    assert "--image-column; the columns are: 'a', 'b'" in fault(bare)


def test_bad_rows_of_a_csv_are_told_and_the_others_come(tmp_path: Path) -> None:
    """A row without picture or id, or with too many cells, names its line and stops nobody."""
    content = "id,image\n1,a.jpg\n2,\n,c.jpg\n4,d.jpg,x\n5,e.jpg\n"
    rows = list(open_source(text(tmp_path, "m.csv", content)).rows())
    assert [type(row) for row in rows] == [Row, BadRow, BadRow, BadRow, Row]
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert [row.message for row in bad] == [
        "line 3: image: empty",
        "line 4: id is empty",
        "line 5: 3 cells, but 2 columns",
    ]
    assert {row.code for row in bad} == {"invalid_job"}
    assert [row.id for row in bad] == ["2", "line 4", "line 5"]


def test_a_jsonl_is_understood(tmp_path: Path) -> None:
    """Pictures are as text, as a list or as objects with a url; values become text."""
    records = [
        {"id": "1", "image": "a.jpg", "price": 12.5, "tags": ["я"], "none": None},
        {"id": "2", "image": ["a.jpg", {"url": "https://a.example/b"}]},
    ]
    content = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    first, second = good(open_source(text(tmp_path, "m.jsonl", content)))
    assert first.variables["price"] == "12.5"
    assert (first.variables["tags"], first.variables["none"]) == ('["я"]', "")
    assert second.images == (str(tmp_path / "a.jpg"), "https://a.example/b")


def test_a_broken_line_of_a_jsonl_is_told_with_its_number(tmp_path: Path) -> None:
    """It becomes a bad row; a first line that can't be read is no manifest at all."""
    content = '{"image": "a.jpg"}\n\n{"image": \n[1]\n{"image": 5}\n{"image": "b.jpg"}\n'
    rows = list(open_source(text(tmp_path, "m.jsonl", content)).rows())
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert [row.message for row in bad] == [
        "line 3: broken JSON at character 10: Expecting value",
        "line 4: not a JSON object",
        "line 5: image: 5 is not the address of a picture",
    ]
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert "x.jsonl, line 1: broken JSON" in fault(text(tmp_path, "x.jsonl", "{]\n"))


def test_a_list_names_pictures(tmp_path: Path) -> None:
    """Each line is an address or a file; blank lines and comments are left out."""
    path = text(tmp_path, "urls.txt", "# my list\nhttps://a.example/1.jpg\n\nя.jpg\n", "cp1251")
    first, second = good(open_source(path))
    assert (first.id, first.images) == ("https://a.example/1.jpg", ("https://a.example/1.jpg",))
    assert (second.number, second.images) == (2, (str(tmp_path / "я.jpg"),))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a.jpg\nb.jpg\n", ["a.jpg", "b.jpg"]),
        ('{"id": "7", "image": "a.jpg"}\n', ["7"]),
        ('{"custom_id": "q", "url": "/v1/responses", "body": {}}\n', ["q"]),
    ],
)
def test_standard_input_is_kept_for_a_second_reading(content: str, expected: list[str]) -> None:
    """A pipe's content is read as what it is, twice the same; names are those of this folder."""
    source = open_source("-", stdin=io.BytesIO(content.encode()))
    assert [row.id for row in source.rows()] == expected
    assert [row.id for row in source.rows()] == expected


def test_standard_input_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is removed with the source, and at once where it can't be understood."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = open_source("-", stdin=io.BytesIO(b"a.jpg\n"))
    assert len(list(tmp_path.iterdir())) == 1
    del source
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidSource):
        open_source("-", stdin=io.BytesIO(b"\x00\x01"))
    assert not list(tmp_path.iterdir())


def test_an_id_may_not_come_twice(tmp_path: Path) -> None:
    """The error names both lines, however the source is read."""
    path = text(tmp_path, "m.csv", "id,image\n1,a.jpg\n2,b.jpg\n1,c.jpg\n")
    assert "lines 2 and 4 have the same id '1'" in fault(path)
    path = text(tmp_path, "l.txt", "a.jpg\n\na.jpg\n")
    assert "lines 1 and 3 have the same id 'a.jpg'" in fault(path)


@given(st.lists(st.text(max_size=3), max_size=60))
def test_identities_tell_where_an_id_stood_first(words: list[str]) -> None:
    """They answer as a dictionary of the first places would."""
    seen, first = Identities(), dict[str, int]()
    for line, word in enumerate(words, 1):
        assert seen.note(word, line) == first.get(word)
        first.setdefault(word, line)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.csv", b"", "m.csv: it is empty"),
        ("m.csv", b"image\n", "it contains no rows"),
        ("m.jsonl", b"\n", "m.jsonl: it is empty"),
        ("l.txt", b"# nothing\n", "it contains no rows"),
        ("m.csv", "image\nя.jpg\n".encode("utf-16"), "text in UTF-16; save the file as UTF-8"),
        ("m.csv", "image\nя.jpg\n".encode() + b"\xff\n", "line 3: byte 0xff is not UTF-8; save"),
        ("m.csv", b"image,a\n" + b'"x,1\n', "is a quote missing?"),
        ("m.csv", b"id,text\na,b\n", "the columns are: 'id', 'text'"),
        ("m.json", b'[\n{"image": "a.jpg"}]', "one JSON document, not JSONL"),
        ("m.json", b'[{"image": "a.jpg"}]', "jq -c '.[]' does"),
        ("m.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "an old Excel workbook"),
        ("m.csv.gz", b"\x1f\x8b\x08", "compressed with gzip"),
        ("m.csv", b"PK\x03\x04 and so on", "a ZIP archive"),
        ("m.parquet", b"PAR1\0\0PAR1", "a Parquet file"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    """It names the file, the line where there is one, and what to do."""
    put(tmp_path, name, content=content)
    message = fault(tmp_path / name)
    assert said in message
    assert name in message


def test_an_encoding_that_is_named_is_used(tmp_path: Path) -> None:
    """Named, it is not guessed; a byte that it does not have is reported with its line."""
    path = text(tmp_path, "m.csv", "image\nя.jpg\n", "koi8-r")
    (row,) = good(open_source(path, options=SourceOptions(encoding="koi8-r")))
    assert row.id == "я.jpg"
    assert "line 2: byte 0xd1 is not ASCII; save" in fault(path, encoding="ascii")
    assert "unknown encoding 'klingon'" in fault(path, encoding="klingon")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    """A wrong name, an empty folder, a glob in vain and an address each say what they are."""
    assert fault(tmp_path / "no.csv").endswith("there is no such file or folder")
    assert "it contains no picture (0 files of other kinds)" in fault(tmp_path)
    assert "there is no folder" in fault(tmp_path / "no" / "*.jpg")
    assert "no file matches" in fault(tmp_path / "*.jpg")
    assert "one a line" in fault("https://a.example/b.jpg")


def test_what_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file nor a folder without leave to read is taken for empty."""
    put(tmp_path, "m.csv", "folder/a.jpg")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert "folder: can't be read: Permission denied" in fault(tmp_path / "folder")
    monkeypatch.setattr(Path, "open", refuse)
    assert "m.csv: can't be read: Permission denied" in fault(tmp_path / "m.csv")


def test_a_fingerprint_tells_sources_apart(tmp_path: Path) -> None:
    """Of a file it goes by content, of a folder by its place: pictures are added to it."""
    first = text(tmp_path, "a.csv", "image\n1.jpg\n")
    second = text(tmp_path, "b.csv", "image\n1.jpg\n")
    third = text(tmp_path, "c.csv", "image\n2.jpg\n")
    prints = [open_source(path).fingerprint() for path in (first, second, third)]
    assert prints[0] == prints[1] != prints[2]
    folder = put(tmp_path / "f", "1.jpg")
    before = open_source(str(folder)).fingerprint()
    put(folder, "2.jpg")
    assert open_source(str(folder)).fingerprint() == before
    assert open_source(str(folder / "*.jpg")).fingerprint() != before


def test_an_unknown_placeholder_names_the_columns(tmp_path: Path) -> None:
    """It is reported before anything is asked; a row of a JSONL that lacks a key fails alone."""
    source = open_source(text(tmp_path, "m.csv", "id,image,name\n1,a.jpg,x\n"))
    with pytest.raises(InvalidSource, match=r"asks for \{colour\}.*it has: id, image, name"):
        prompt_for(source, "Is it {colour}?")
    prompt = prompt_for(source, "Is it {name}?")
    assert prompt is not None
    assert prompt.names == ("name",)
    (row,) = good(source)
    fields = job_fields(row, prompt, {"model": "m"})
    assert fields == {"model": "m", "prompt": "Is it x?", "images": [str(tmp_path / "a.jpg")]}
    with pytest.raises(InvalidJob, match="the row has no 'colour'"):
        Prompt("{colour}").fill(row.variables)
    with pytest.raises(click.UsageError, match="--prompt-file"):
        prompt_for(source, None)
