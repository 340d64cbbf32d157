"""Files of labels: COCO, YOLO, Label Studio, CSV."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from producer.run.table import harmless
from visionq.errors import RecordFailed, RecordRefused
from visionq.user_files import draft_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from producer.labels.boxes import Box, LabelledPicture


class LabelForm(StrEnum):
    """Forms of labels."""

    COCO = "coco"
    YOLO = "yolo"
    LABEL_STUDIO = "label-studio"
    CSV = "csv"


_PERCENT: Final = 100


def write_labels(pictures: Iterable[LabelledPicture], out: Path, form: LabelForm) -> None:
    """Write the labels to a new file, or for YOLO a new folder.

    Raises:
        RecordRefused: OUT exists.
        RecordFailed: it can't be written.
    """
    if out.exists():
        raise RecordRefused(f"{out}: it exists: choose another OUT")
    draft = draft_of(out)
    try:
        _WRITERS[form](list(pictures), draft)
        draft.replace(out)
    except OSError as error:
        raise RecordFailed(f"{out}: can't be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)


def _labels(pictures: list[LabelledPicture]) -> list[str]:
    """Return every label once, in alphabetical order."""
    return sorted({box.label for picture in pictures for box in picture.boxes})


def _write_coco(pictures: list[LabelledPicture], out: Path) -> None:
    """Write COCO's object detection form: pixels, `[x, y, width, height]`."""
    labels = {label: number for number, label in enumerate(_labels(pictures), 1)}
    annotations: list[dict[str, Any]] = []
    for image, picture in enumerate(pictures, 1):
        for box in picture.boxes:
            x, y, width, height = _rounded(box.left, box.top, box.width, box.height)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": labels[box.label],
                    "bbox": [x, y, width, height],
                    "area": round(box.width * box.height, 2),
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    document = {
        "images": [
            {"id": number, "file_name": one.file, "width": one.width, "height": one.height}
            for number, one in enumerate(pictures, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for label, number in labels.items()],
    }
    _write_json(document, out)


def _write_yolo(pictures: list[LabelledPicture], out: Path) -> None:
    """Write a folder: `data.yaml`, and a text for each picture with shares of its sides."""
    numbers = {label: number for number, label in enumerate(_labels(pictures))}
    out.mkdir()
    names = "".join(
        f"  {number}: {json.dumps(label, ensure_ascii=False)}\n"
        for label, number in numbers.items()
    )
    text = f"path: .\ntrain: images\nval: images\nnames:\n{names}"
    (out / "data.yaml").write_text(text, "utf-8", "backslashreplace")
    owners: dict[Path, str] = {}
    for picture in pictures:
        lines = [_yolo_line(box, picture, numbers[box.label]) for box in picture.boxes]
        path = (out / "labels" / picture.file).with_suffix(".txt")
        if not path.resolve().is_relative_to(out.resolve()):
            raise RecordRefused(f"{picture.file}: the name leads out of OUT")
        other = owners.setdefault(path.resolve(), picture.file)
        if other != picture.file:
            raise RecordRefused(f"{other} and {picture.file} would share {path.name}: rename one")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:  # a picture may be asked about twice
            file.writelines(lines)


def _yolo_line(box: Box, picture: LabelledPicture, number: int) -> str:
    values = (
        (box.left + box.right) / 2 / picture.width,
        (box.top + box.bottom) / 2 / picture.height,
        box.width / picture.width,
        box.height / picture.height,
    )
    return f"{number} {' '.join(f'{value:.6f}' for value in values)}\n"


def _write_label_studio(pictures: list[LabelledPicture], out: Path) -> None:
    """Write tasks with predictions: percent of the sides."""
    tasks = [
        {
            "data": {"image": picture.file},
            "predictions": [
                {
                    "model_version": picture.model,
                    "result": [_label_studio_region(box, picture) for box in picture.boxes],
                }
            ],
        }
        for picture in pictures
    ]
    _write_json(tasks, out)


def _label_studio_region(box: Box, picture: LabelledPicture) -> dict[str, Any]:
    across, down = _PERCENT / picture.width, _PERCENT / picture.height
    return {
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": picture.width,
        "original_height": picture.height,
        "image_rotation": 0,
        "value": {
            "x": box.left * across,
            "y": box.top * down,
            "width": box.width * across,
            "height": box.height * down,
            "rotation": 0,
            "rectanglelabels": [box.label],
        },
    }


def _write_csv(pictures: list[LabelledPicture], out: Path) -> None:
    with out.open("x", encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["id", "file", "label", "left", "top", "right", "bottom", "width", "height"]
        )
        for picture in pictures:
            for box in picture.boxes:
                sides = _rounded(box.left, box.top, box.right, box.bottom)
                size = (picture.width, picture.height)
                texts = map(harmless, (picture.id, picture.file, box.label))
                writer.writerow([*texts, *sides, *size])


def _rounded(*values: float) -> list[float]:
    return [round(value, 2) for value in values]


def _write_json(document: object, out: Path) -> None:
    with out.open("x", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(document, file, ensure_ascii=False)


_WRITERS: Final[dict[LabelForm, Callable[[list[LabelledPicture], Path], None]]] = {
    LabelForm.COCO: _write_coco,
    LabelForm.YOLO: _write_yolo,
    LabelForm.LABEL_STUDIO: _write_label_studio,
    LabelForm.CSV: _write_csv,
}
