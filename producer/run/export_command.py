"""`visionq export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from producer.labels.accuracy import accuracy, read_coco
from producer.labels.boxes import labelled_pictures
from producer.labels.label_files import LabelForm, write_labels
from producer.outputs import check_not_input
from producer.run.record_index import open_rows
from producer.run.table import (
    as_old_as,
    check_is_ours,
    check_kind,
    keep_changed,
    record_path,
    table_options,
    take_table_form,
)
from producer.run.table import export as write_table
from visionq.cli.shared import FILE, errors_as_json, json_option, print_json
from visionq.errors import RecordRefused
from visionq.settings import load_settings
from visionq.wording import counted

if TYPE_CHECKING:
    from producer.labels.accuracy import LabelAccuracy
    from producer.run.table import TableForm

#: Refused boxes that are named; the rest is counted.
_NAMED: Final = 3


@click.command()
@click.argument("record", type=FILE)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="FILE.csv, .xlsx, .parquet or .jsonl; a file or folder of labels with --to.",
)
@click.option("--ordered", is_flag=True, help="In the order of the source.")
@click.option(
    "--to",
    type=click.Choice([one.value for one in LabelForm]),
    help="Write boxes as labels: of OUT's answers, in pixels of the upright originals.",
)
@click.option("--boxes", metavar="FIELD", help="Field of the answer with the boxes.")
@click.option("--against", type=FILE, help="COCO file of people's boxes to compare with.")
@table_options
@json_option
def export(
    *,
    record: Path,
    out: Path,
    ordered: bool,
    to: str | None,
    boxes: str | None,
    against: Path | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401  # those of the table
) -> None:
    """Convert OUT of `visionq run` to another form, even while it is written.

    RECORD is the JSONL of a run, or the table beside it.
    """  # fmt: skip
    with errors_as_json(as_json):
        rows_of = record_path(record)
        form = take_table_form(options, load_settings().time_zone)
        check_not_input(out, [rows_of])
        if to is None:
            if boxes or against:
                raise click.UsageError("--boxes and --against need --to")
            _export_table(rows_of, out, form, ordered=ordered)
        else:
            wanted = _Labels(LabelForm(to), form.pictures or Path(), boxes, against)
            _export_labels(rows_of, out, wanted, as_json=as_json)


def _export_table(record: Path, out: Path, form: TableForm, *, ordered: bool) -> None:
    check_kind(out, form)
    check_is_ours(out)
    with open_rows(record, ordered=ordered) as rows:
        if (said := keep_changed(out, record)) is not None:
            click.echo(said, err=True)
        write_table(rows, out, form)
        as_old_as(out, record)


@dataclass(frozen=True, slots=True)
class _Labels:
    """The labels to write."""

    form: LabelForm
    folder: Path
    field: str | None
    against: Path | None


def _export_labels(record: Path, out: Path, wanted: _Labels, *, as_json: bool) -> None:
    drawn = None if wanted.against is None else read_coco(wanted.against)
    refused: list[str] = []
    with open_rows(record, ordered=True) as rows:
        pictures = list(labelled_pictures(rows, wanted.folder, wanted.field, refused))
    if drawn is not None and not any(picture.file in drawn for picture in pictures):
        raise RecordRefused(f"{wanted.against}: its file names are not those of {record}")
    write_labels(pictures, out, wanted.form)
    found = {} if drawn is None else accuracy(pictures, drawn)
    count = sum(len(picture.boxes) for picture in pictures)
    if as_json:
        print_json(
            {
                "pictures": len(pictures),
                "boxes": count,
                "refused": refused,
                "accuracy": {label: _figures(one) for label, one in found.items()},
            }
        )
        return
    click.echo(f"{counted(count, 'box', 'boxes')} on {counted(len(pictures), 'picture')} in {out}")
    for said in refused[:_NAMED]:
        click.echo(f"refused: {said}", err=True)
    if len(refused) > _NAMED:
        click.echo(f"refused: {len(refused) - _NAMED:,} more", err=True)
    for label, one in found.items():
        figures = ", ".join(f"{name} {_shown(value)}" for name, value in _figures(one).items())
        click.echo(f"{label}: {figures}")


def _figures(one: LabelAccuracy) -> dict[str, float | None]:
    return {"precision": one.precision, "recall": one.recall, "mean IoU": one.overlap}


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
