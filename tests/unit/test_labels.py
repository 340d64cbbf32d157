"""Boxes of answers as labels: checked, in pixels of the upright original, in every form."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from click.testing import CliRunner
from PIL import Image

from producer.labels.accuracy import accuracy, read_coco
from producer.labels.boxes import Box, LabelledPicture, labelled_pictures
from producer.labels.label_files import LabelForm, write_labels
from producer.run.export_command import export
from producer.run.run_record import to_line
from tests.unit.test_run_workbook import row
from visionq.errors import RecordRefused

if TYPE_CHECKING:
    from pathlib import Path

#: Of https://cocodataset.org/#format-data, 2026-11.
COCO: dict[str, Any] = {
    "type": "object",
    "required": ["images", "annotations", "categories"],
    "properties": {
        "images": {
            "type": "array",
            "items": {
                "required": ["id", "width", "height", "file_name"],
                "properties": {"id": {"type": "integer"}, "width": {"type": "integer"}},
            },
        },
        "annotations": {
            "type": "array",
            "items": {
                "required": ["id", "image_id", "category_id", "area", "bbox", "iscrowd"],
                "properties": {
                    "bbox": {"type": "array", "minItems": 4, "maxItems": 4},
                    "iscrowd": {"enum": [0, 1]},
                },
            },
        },
        "categories": {"type": "array", "items": {"required": ["id", "name"]}},
    },
}

#: A number that no float holds.
COLOSSAL = (
    '{"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 1, "name": "b"}],'
    ' "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1%s, 1, 1, 1]}]}' % ("0" * 400)
)


def box(label: str, left: int, top: int, right: int, bottom: int) -> dict[str, Any]:
    return {"label": label, "left": left, "top": top, "right": right, "bottom": bottom}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A record of two pictures: one turned by its camera, one with absurd boxes."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200)).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "cups").mkdir()
    Image.new("RGB", (100, 100)).save(tmp_path / "cups" / "a.png")
    absurd = [
        box("cup", 0, 0, 500, 500),
        box("cup", 0, 0, 500, 500),  # twice
        box("cup", 500, 0, 400, 500),
        box("cup", 0, 0, 2000, 500),
        box("", 0, 0, 10, 10),
        {"label": "cup"},
    ]
    rows = [
        row(1, "turned.jpg", data={"boxes": [box("Кот", 250, 100, 750, 600)]}, error=None),
        row(2, "cups/a.png", data={"boxes": absurd}, error=None),
        row(3, "absent.png", data={"boxes": []}, error=None),
        row(4, "turned.jpg", data={"text": "none"}, error=None),
        row(5, "turned.jpg"),
    ]
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"".join(map(to_line, rows)))
    return path


def exported(out: Path, to: str, *arguments: str) -> tuple[Path, dict[str, Any]]:
    """Return what was written, and what the command said."""
    target = out.with_name(f"labels-{to}")
    given = [str(out), "-o", str(target), "--to", to, "--pictures", str(out.parent), "--json"]
    done = CliRunner().invoke(export, [*given, *arguments], standalone_mode=False)
    assert done.exception is None, done.exception
    return target, json.loads(done.stdout)


def test_coco(out: Path) -> None:
    """Boxes are in pixels of the picture as people see it; the form is COCO's."""
    target, said = exported(out, "coco")
    document = json.loads(target.read_text("utf-8"))
    jsonschema.validate(document, COCO)
    turned, cups = document["images"]
    assert (turned["width"], turned["height"]) == (200, 400)
    assert cups["file_name"] == "cups/a.png"
    names = {one["id"]: one["name"] for one in document["categories"]}
    found = [(names[one["category_id"]], one["bbox"]) for one in document["annotations"]]
    assert found == [("Кот", [50, 40, 100, 200]), ("cup", [0, 0, 50, 50])]
    assert (said["pictures"], said["boxes"]) == (2, 2)


def test_absurd_boxes_are_refused(out: Path) -> None:
    """Each box that encloses nothing, leaves the picture or lacks a label is named with its row."""
    _, said = exported(out, "csv")
    assert [one.split(": ")[:2] for one in said["refused"]] == [
        ["2", "box 3"],
        ["2", "box 4"],
        ["2", "box 5"],
        ["2", "box 6"],
        ["3", f"{out.parent / 'absent.png'} can't be read"],
        ["4", "no boxes in the answer"],
    ]


def test_yolo(out: Path) -> None:
    """A text for each picture has centres and sizes from 0 to 1; `data.yaml` lists the labels."""
    target, _ = exported(out, "yolo")
    assert 'names:\n  0: "cup"\n  1: "Кот"' in (target / "data.yaml").read_text("utf-8")
    assert (target / "labels/turned.txt").read_text() == "1 0.500000 0.350000 0.500000 0.500000\n"
    assert (target / "labels/cups/a.txt").read_text() == "0 0.250000 0.250000 0.500000 0.500000\n"


def test_pictures_of_one_name_share_no_text(tmp_path: Path) -> None:
    """`a.jpg` and `a.png` would share a text of YOLO and are refused; two rows of one share it."""
    one, other = (
        LabelledPicture("1", name, 10, 10, (Box("cup", 0, 0, 5, 5),)) for name in ("a.jpg", "a.png")
    )
    with pytest.raises(RecordRefused, match=r"a\.jpg and a\.png would share a\.txt"):
        write_labels([one, other], tmp_path / "out", LabelForm.YOLO)
    assert not list(tmp_path.iterdir())
    write_labels([one, one], tmp_path / "out", LabelForm.YOLO)
    assert len((tmp_path / "out/labels/a.txt").read_text().splitlines()) == 2


def test_labels_of_a_model_are_not_trusted(tmp_path: Path) -> None:
    """A spreadsheet runs no label, and half of an emoji ends no export."""
    boxes = (Box("=1+1", 0, 0, 5, 5), Box("\ud83d", 0, 0, 5, 5))
    picture = LabelledPicture("1", "a.jpg", 10, 10, boxes)
    for form in LabelForm:
        write_labels([picture], tmp_path / form.value, form)
    assert ",'=1+1," in (tmp_path / "csv").read_text("utf-8-sig")


@pytest.mark.parametrize("label", [None, 5, {"a": 1}, " ", "x" * 201])
def test_a_label_is_a_short_text(tmp_path: Path, label: object) -> None:
    """A box with any other label is refused."""
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    found = box("cup", 0, 0, 5, 5) | {"label": label}
    refused: list[str] = []
    answers = [row(1, "a.png", data={"boxes": [found]}, error=None)]
    (picture,) = labelled_pictures(answers, tmp_path, None, refused)
    assert not picture.boxes
    assert "label" in refused[0]


def test_case_makes_no_other_label() -> None:
    """A model's `Cup` and people's `cup` are counted as one label."""
    picture = LabelledPicture("1", "x.jpg", 10, 10, (Box("Cup", 0, 0, 10, 10),))
    (label, found), *others = accuracy([picture], {"x.jpg": [Box("cup", 0, 0, 10, 10)]}).items()
    assert (label, found.precision, found.recall, others) == ("cup", 1, 1, [])


def test_label_studio(out: Path) -> None:
    """Tasks have percents of the sides, and the model that drew them."""
    target, _ = exported(out, "label-studio")
    task = json.loads(target.read_text("utf-8"))[0]
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "m1"
    value = prediction["result"][0]["value"]
    assert (value["x"], value["y"], value["width"], value["height"]) == (25, 10, 50, 50)
    assert value["rectanglelabels"] == ["Кот"]


def test_csv(out: Path) -> None:
    """A line for each box has pixels and the size of its picture."""
    target, _ = exported(out, "csv")
    with target.open(encoding="utf-8-sig", newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["label"], first["left"], first["bottom"], first["height"]) == (
        "Кот", "50.0", "240.0", "400",
    )  # fmt: skip


def test_what_is_there_is_not_replaced(out: Path) -> None:
    """A file in OUT's place is named and stays."""
    target = out.with_name("labels-coco")
    target.write_text("mine")
    given = [str(out), "-o", str(target), "--to", "coco"]
    done = CliRunner().invoke(export, given, standalone_mode=False)
    assert isinstance(done.exception, RecordRefused)
    assert target.read_text() == "mine"


def test_against_peoples_boxes(out: Path) -> None:
    """Precision, recall and IoU by label come from the pictures that people labelled."""
    target, _ = exported(out, "coco")
    document = json.loads(target.read_text("utf-8"))
    document["annotations"][0]["bbox"] = [50, 40, 100, 100]  # half of the model's box
    document["annotations"][1]["bbox"] = [80, 80, 20, 20]  # elsewhere
    (out.parent / "people.json").write_text(json.dumps(document), "utf-8")
    _, said = exported(out, "csv", "--against", str(out.parent / "people.json"))
    assert said["accuracy"] == {
        "cup": {"precision": 0, "recall": 0, "mean IoU": None},
        "Кот": {"precision": 1, "recall": 1, "mean IoU": 0.5},
    }


def test_people_drew_on_other_pictures(out: Path) -> None:
    """A COCO file without any picture of OUT is named, and nothing is written."""
    people = {"images": [{"id": 1, "file_name": "other.jpg"}], "categories": [], "annotations": []}
    (out.parent / "people.json").write_text(json.dumps(people))
    given = [str(out), "-o", str(out.with_name("l.csv")), "--to", "csv"]
    against = ["--pictures", str(out.parent), "--against", str(out.parent / "people.json")]
    done = CliRunner().invoke(export, [*given, *against], standalone_mode=False)
    assert isinstance(done.exception, RecordRefused)
    assert "people.json: its file names are not those" in done.exception.message
    assert not out.with_name("l.csv").exists()


def test_each_box_is_matched_once() -> None:
    """Two boxes on one thing are one match, with the one that fits better."""
    drawn = [Box("a", 0, 0, 10, 10)]
    ours = (Box("a", 0, 0, 10, 9), Box("A", 0, 0, 10, 10))
    picture = LabelledPicture("1", "x.jpg", 10, 10, ours)
    assert accuracy([picture], {"x.jpg": drawn})["a"].overlaps == [1.0]


@pytest.mark.parametrize(
    "content", [COLOSSAL, "[" * 100_000, "[]", "{}", "no JSON", '{"images": [{"id": 1}]}']
)
def test_what_is_not_coco_is_refused(tmp_path: Path, content: str) -> None:
    """One line names the file."""
    (tmp_path / "people.json").write_text(content)
    with pytest.raises(RecordRefused, match=r"people\.json: this is not COCO"):
        read_coco(tmp_path / "people.json")
