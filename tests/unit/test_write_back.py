"""Answers written beside pictures: what is merged, what is left alone, and how it is taken back."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from producer.run.run_record import to_line
from producer.write_back.picture_metadata import PictureMetadata, metadata_of
from producer.write_back.undo_log import UndoLog
from producer.write_back.write_command import write
from producer.write_back.writing import MetadataForm, MetadataWriter, undo
from producer.write_back.xmp import OURS, RDF, merged
from tests.unit.test_run_workbook import row
from visionq.errors import RecordRefused

if TYPE_CHECKING:
    from pathlib import Path

EXIFTOOL = shutil.which("exiftool") or "exiftool"
#: As darktable and Lightroom write them: attributes, another prefix, several descriptions.
THEIRS = b"""<?xml version="1.0"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><!-- mine --><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<r:Description r:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>
<r:Description r:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title><r:Alt><r:li xml:lang="x-default">My title</r:li></r:Alt></dc:title>
<dc:subject><r:Bag><r:li>Paris</r:li></r:Bag></dc:subject></r:Description></r:RDF></x:xmpmeta>"""


def merge(sidecar: bytes | None, **values: Any) -> bytes:
    found = merged(sidecar, PictureMetadata(**values), model="gpt-6-luna", moment="2026-12-01")
    assert found is not None
    return found


def properties(sidecar: bytes) -> dict[str, list[str]]:
    """Return the texts of each property in their order; our own marks are a set."""
    found = {}
    root = ET.fromstring(sidecar)  # noqa: S314  # written by us
    for description in root.iter(f"{{{RDF}}}Description"):
        for one in description:
            texts = [text for text in one.itertext() if text.strip()]
            found[one.tag] = sorted(texts) if one.tag == f"{{{OURS}}}wrote" else texts
    return found


def shown(path: Path) -> dict[str, Any]:
    """Return what exiftool reads."""
    done = subprocess.run(
        [EXIFTOOL, "-json", "-G1", "-charset", "iptc=UTF8", str(path)],
        capture_output=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def test_exiftool_reads_a_new_sidecar(tmp_path: Path) -> None:
    """Texts, keywords and their hierarchy are where readers of photo libraries look."""
    (tmp_path / "a.xmp").write_bytes(
        merge(
            None,
            title="Кружка <&>",
            description="Красная, пустая",
            alt="Красная кружка",
            keywords=("кружка", "red"),
            hierarchy=("вещь|посуда",),
        )
    )
    found = shown(tmp_path / "a.xmp")
    assert (found["XMP-dc:Title"], found["XMP-dc:Description"]) == ("Кружка <&>", "Красная, пустая")
    assert found["XMP-dc:Subject"] == ["кружка", "red"]
    assert found["XMP-lr:HierarchicalSubject"] == "вещь|посуда"
    assert found["XMP-iptcCore:AltTextAccessibility"] == "Красная кружка"
    assert found["XMP-visionq:Model"] == "gpt-6-luna"


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    """Their title, rating and comment stay, and keywords are added to theirs, each once."""
    content = merge(THEIRS, title="Ours", description="New", keywords=("paris", "tower"))
    (tmp_path / "a.xmp").write_bytes(content)
    found = shown(tmp_path / "a.xmp")
    assert (found["XMP-dc:Title"], found["XMP-xmp:Rating"]) == ("My title", 4)
    assert found["XMP-dc:Description"] == "New"
    assert found["XMP-dc:Subject"] == ["Paris", "tower"]
    assert b"<!-- mine -->" in content


WORDS = st.text("дёжxyz<&>\"'", min_size=1, max_size=8)
VALUES = st.fixed_dictionaries(
    {
        "title": WORDS,
        "alt": WORDS,
        "keywords": st.lists(WORDS, min_size=1, max_size=4, unique=True).map(tuple),
    }
)


@given(values=VALUES)
def test_written_twice_is_written_once(values: dict[str, Any]) -> None:
    """The same answer again changes nothing."""
    once = merge(None, **values)
    assert merged(once, PictureMetadata(**values), model="m", moment="later") is None


@given(first=VALUES, second=VALUES)
def test_a_later_answer_replaces_ours(first: dict[str, Any], second: dict[str, Any]) -> None:
    """A later answer leaves nothing of the earlier one."""
    assume(first != second)
    assert properties(merge(merge(None, **first), **second)) == properties(merge(None, **second))


def test_an_answer_without_keywords_takes_none_away() -> None:
    """Keep what a later answer does not name."""
    kept = merge(merge(None, title="Cup", keywords=("red",)), title="Mug")
    assert properties(kept) == properties(merge(None, title="Mug", keywords=("red",)))


def test_an_edited_value_is_theirs() -> None:
    """Keep what people changed in our text when another answer comes."""
    edited = merge(None, title="Cup").replace(b">Cup<", b">My cup<")
    assert b">My cup<" in merge(edited, title="Mug", alt="A mug")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<x:xmpmeta", "broken XML"),
        (b"<a/>", "no XMP"),
        (b"<a>" * 5_000 + b"</a>" * 5_000, "levels"),
        (b'<!DOCTYPE a [<!ENTITY e "e">]><a>&e;</a>', "DOCTYPE"),
    ],
)
def test_a_broken_sidecar_is_left_alone(tmp_path: Path, content: bytes, said: str) -> None:
    """One line names the file and what is wrong with it; the file stays as it is."""
    picture = tmp_path / "a.jpg"
    (tmp_path / "a.xmp").write_bytes(content)
    writer = MetadataWriter(MetadataForm.XMP, UndoLog(tmp_path / "o.undo.jsonl"))
    with pytest.raises(RecordRefused, match=rf"a\.xmp: .*{said}"):
        writer.write(picture, PictureMetadata(title="t"), model="m", moment="")
    assert (tmp_path / "a.xmp").read_bytes() == content


def test_fields_of_an_answer_by_their_usual_names() -> None:
    """Usual names are found, others are named by options, and texts lose what XML can't hold."""
    answer = {"headline": "A\x00\nB", "tags": ["x", "x", ["a", "b"]], "nutshell": "short"}
    found = metadata_of({"data": answer}, {"description": "nutshell"})
    assert found == PictureMetadata("A B", "short", keywords=("x", "a|b"))
    assert metadata_of({"data": None, "text": " Да "}, {}) == PictureMetadata(description="Да")


class Library:
    """A folder of pictures, and OUT with their answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out.jsonl"
        self.pictures = [folder / "a.jpg", folder / "b c.jpg"]
        lines = []
        for number, picture in enumerate(self.pictures, 1):
            Image.new("RGB", (40, 30), (number, 0, 0)).save(picture)
            answer = {"title": f"Снимок {number}", "tags": ["один", "two"]}
            digest = hashlib.sha256(picture.read_bytes()).hexdigest()
            fields = {"data": answer, "error": None, "pictures": [digest]}
            lines.append(to_line(row(number, picture.name, **fields)))
        self.out.write_bytes(b"".join(lines))

    def write(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run the command; return its exit code and what it prints."""
        given = [str(self.out), "--pictures", str(self.folder), "--json", *arguments]
        done = CliRunner().invoke(write, given, standalone_mode=False)
        assert done.exception is None, done.exception
        found: dict[str, Any] = json.loads(done.stdout)
        return done.return_value or 0, found

    def content(self) -> dict[str, bytes]:
        """Return the content of every file but the log's."""
        files = (one for one in self.folder.iterdir() if one.is_file())
        return {one.name: one.read_bytes() for one in files if "undo" not in one.name}


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


@pytest.mark.parametrize("forms", [["xmp"], ["txt"], ["iptc"], ["xmp", "txt", "iptc"]])
def test_written_and_undone(library: Library, forms: list[str]) -> None:
    """Each form is written, a second run changes nothing, and undo brings every byte back."""
    before = library.content()
    arguments = [word for form in forms for word in ("--to", form)]
    _, dry = library.write(*arguments, "--dry-run")
    assert dry["written"] == 2 * len(forms)
    assert library.content() == before
    library.write(*arguments)
    written = library.content()
    assert written != before
    library.write(*arguments)
    assert library.content() == written
    code, done = library.write("--undo")
    assert (code, done["changed"]) == (0, [])
    assert library.content() == before


def test_embedded_by_exiftool(library: Library) -> None:
    """IPTC and XMP are in the file; keywords that it has stay, and its pixels."""
    picture = library.pictures[0]
    subprocess.run(
        [EXIFTOOL, "-q", "-overwrite_original", "-IPTC:Keywords=Mine", str(picture)], check=True
    )
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    lines = library.out.read_text().splitlines()
    changed = json.loads(lines[0]) | {"pictures": [digest]}
    library.out.write_bytes(to_line(changed))
    pixels = Image.open(picture).tobytes()
    library.write("--to", "iptc")
    found = shown(picture)
    assert found["IPTC:Keywords"] == ["Mine", "один", "two"]
    assert (found["IPTC:ObjectName"], found["XMP-dc:Title"]) == ("Снимок 1", "Снимок 1")
    assert Image.open(picture).tobytes() == pixels


def test_a_changed_picture_is_left_alone(library: Library) -> None:
    """A file that is no longer the one that was asked about gets nothing, and is counted."""
    Image.new("RGB", (4, 4), "blue").save(library.pictures[0])
    library.pictures[1].unlink()
    _, done = library.write()
    assert (done["changed since it was asked"], done["absent"]) == (1, 1)
    assert "a.jpg.xmp" not in library.content()


def test_a_text_of_people_is_kept(library: Library) -> None:
    """A `.txt` that visionq did not write stays as it is."""
    (library.folder / "a.txt").write_text("mine")
    _, done = library.write("--to", "txt")
    assert (done["kept"], done["written"]) == (1, 1)
    assert library.content()["a.txt"] == b"mine"


def test_undo_leaves_later_edits_alone(library: Library) -> None:
    """A file that was edited after it was written is named and stays; others are restored."""
    library.write()
    edited = library.folder / "a.jpg.xmp"
    edited.write_bytes(edited.read_bytes() + b"<!-- by hand -->")
    code, done = library.write("--undo")
    assert (code, done["restored"], done["changed"]) == (1, 1, [str(edited)])
    assert edited.read_bytes().endswith(b"<!-- by hand -->")


def test_an_interrupted_writing_is_undone(tmp_path: Path) -> None:
    """A log whose last line was noted before a crash, or torn by it, takes nothing away."""
    log = UndoLog(tmp_path / "o.undo.jsonl")
    target = tmp_path / "a.txt"
    log.replace(target, b"ours", None)
    target.unlink()  # as if the process had ended between the log and the file
    with log.path.open("ab") as file:
        file.write(b'{"path": "torn')
    assert undo(UndoLog(log.path)) == (0, {})
    assert not target.exists()


def test_a_torn_line_spoils_no_later_one(tmp_path: Path) -> None:
    """Writing on after a crash or a full disk keeps the log whole, and all is undone."""
    log = UndoLog(tmp_path / "o.undo.jsonl")
    log.replace(tmp_path / "a.txt", b"ours", None)
    with log.path.open("ab") as file:
        file.write(b'{"path": "' + b"torn" * 50_000)
    log.replace(tmp_path / "b.txt", b"ours", None)
    assert undo(UndoLog(log.path)) == (2, {})
    assert not list(tmp_path.glob("*.txt"))


def test_an_interrupted_undo_goes_on(tmp_path: Path) -> None:
    """A file that was written twice and is restored already is not said to be changed."""
    log = UndoLog(tmp_path / "o.undo.jsonl")
    log.replace(tmp_path / "a.txt", b"one", b"theirs")
    log.replace(tmp_path / "a.txt", b"two", b"one")
    (tmp_path / "a.txt").write_bytes(b"theirs")
    assert undo(UndoLog(log.path)) == (0, {})


def test_half_an_original_is_never_restored(library: Library) -> None:
    """A copy that a crash cut off is made again; one that is cut or lost later is named."""
    before = library.content()
    picture = library.pictures[0]
    originals = library.folder / "out.undo.originals"
    originals.mkdir()
    kept = originals / f"{hashlib.sha256(before['a.jpg']).hexdigest()}.jpg"
    kept.write_bytes(before["a.jpg"][:9])
    library.write("--to", "iptc")
    assert kept.read_bytes() == before["a.jpg"]
    written = picture.read_bytes()
    kept.write_bytes(b"cut")
    code, done = library.write("--undo")
    assert (code, done["restored"], done["changed"]) == (1, 1, [str(picture)])
    assert picture.read_bytes() == written
    kept.unlink()
    assert library.write("--undo")[0] == 1
    kept.write_bytes(before["a.jpg"])
    assert library.write("--undo")[0] == 0
    assert library.content() == before


def test_pictures_that_differ_by_suffix_share_no_file(tmp_path: Path) -> None:
    """The second of `a.jpg` and `a.png` gets no `.txt`, and a sidecar by its whole name."""
    log = UndoLog(tmp_path / "o.undo.jsonl")
    (tmp_path / "a.xmp").write_bytes(THEIRS)
    texts, sidecars = (MetadataWriter(form, log) for form in (MetadataForm.TXT, MetadataForm.XMP))
    said = []
    for name in ("a.jpg", "a.png", "a.jpg"):
        metadata = PictureMetadata(description=name)
        said.append(texts.write(tmp_path / name, metadata, model="m", moment="").name)
        sidecars.write(tmp_path / name, metadata, model="m", moment="")
    assert said == ["WRITTEN", "TAKEN", "UNCHANGED"]
    assert (tmp_path / "a.txt").read_text() == "a.jpg\n"
    assert b">a.jpg<" in (tmp_path / "a.xmp").read_bytes()
    assert b">a.png<" in (tmp_path / "a.png.xmp").read_bytes()


def test_a_picture_without_a_hash_is_left_alone(library: Library) -> None:
    """A row that doesn't say which file was asked writes nothing."""
    rows = [json.loads(line) | {"pictures": []} for line in library.out.read_text().splitlines()]
    library.out.write_bytes(b"".join(map(to_line, rows)))
    assert library.write()[1]["changed since it was asked"] == 2


def test_unreadable_files_are_named(library: Library) -> None:
    """One line names what is no file; the other pictures are written."""
    library.pictures[0].unlink()
    library.pictures[0].mkdir()
    code, done = library.write()
    assert (code, done["failed"], done["written"]) == (1, 1, 1)


def test_texts_of_another_encoding_stay(library: Library) -> None:
    """IPTC that isn't marked as UTF-8 is left as it is; the XMP is written."""
    picture = library.pictures[0]
    command = [EXIFTOOL, "-q", "-overwrite_original", "-IPTC:Keywords=caf\u00e9", str(picture)]
    subprocess.run(command, check=True)
    row_ = json.loads(library.out.read_text().splitlines()[0])
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    library.out.write_bytes(to_line(row_ | {"pictures": [digest]}))
    library.write("--to", "iptc")
    command = [EXIFTOOL, "-json", "-G1", str(picture)]
    (found,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert found["IPTC:Keywords"] == "caf\u00e9"
    assert "IPTC:CodedCharacterSet" not in found
    assert found["XMP-dc:Subject"] == ["один", "two"]


def test_embedded_once(tmp_path: Path) -> None:
    """Texts beyond IPTC's limits, words like numbers, and formats without IPTC are written once."""
    writer = MetadataWriter(MetadataForm.IPTC, UndoLog(tmp_path / "o.undo.jsonl"))
    words = ("длинное ключевое слово, которое не входит", "2020", "007", "1e5", "true", "-x", "<y")
    metadata = PictureMetadata("Ж" * 80, "ж" * 3_000, keywords=words)
    for name in ("a.jpg", "a.gif"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
        said = [
            writer.write(tmp_path / name, metadata, model="m", moment="").value for _ in range(2)
        ]
        assert said == ["written", "unchanged"], name


def test_line_breaks_of_others_stay() -> None:
    """Breaks and tabs in attributes and carriage returns in texts are written as references."""
    attributes = b'xmlns:p="urn:p" p:Note="one&#xA;two&#x9;three&#xD;"'
    sidecar = THEIRS.replace(b'xmp:Rating="4"', b'xmp:Rating="4" ' + attributes)
    content = merge(sidecar.replace(b"My title", b"My&#xD;title"), alt="Ours")
    assert b'p:Note="one&#10;two&#9;three&#13;"' in content
    assert b"My&#13;title" in content


def test_namespaces_that_a_program_dropped() -> None:
    """Ours are declared again where another program left out those without a value."""
    once = merge(None, title="t")
    for prefix, namespace in (
        ("lr", b"http://ns.adobe.com/lightroom/1.0/"),
        ("Iptc4xmpCore", b"http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"),
    ):
        once = once.replace(b' xmlns:%b="%b"' % (prefix.encode(), namespace), b"")
    twice = merge(once, title="t", alt="a", hierarchy=("a|b",))
    assert merged(twice, PictureMetadata(title="t"), model="m", moment="") is None


def test_a_foreign_log_is_refused(library: Library) -> None:
    """A file in the log's place that is none is named."""
    library.out.with_suffix(".undo.jsonl").write_text("notes\n")
    done = CliRunner().invoke(write, [str(library.out), "--undo"], standalone_mode=False)
    assert isinstance(done.exception, RecordRefused)
    assert "line 1 is not of an undo log" in done.exception.message
