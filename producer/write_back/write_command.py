"""`visionq write`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

import click

from producer.run.record_index import open_rows
from producer.run.table import record_path
from producer.write_back.picture_metadata import USUAL_FIELDS, metadata_of
from producer.write_back.undo_log import UndoLog, sha256_of_file
from producer.write_back.writing import MetadataForm, MetadataWriter, check_exiftool, undo
from visionq.cli.shared import EXIT_FAILED, FILE, errors_as_json, json_option, print_json
from visionq.errors import RecordRefused, VisionqError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.write_back.picture_metadata import PictureMetadata

_ABSENT: Final = "absent"
_CHANGED: Final = "changed since it was asked"
_EMPTY: Final = "no metadata in the answer"
_FAILED: Final = "failed"
_NO_ANSWER: Final = "no answer"


def _field_options(command: Any) -> Any:  # noqa: ANN401  # click's decorators
    for name, usual in reversed(USUAL_FIELDS.items()):
        said = f"Field of the answer with the {name}.  [default: {' or '.join(usual)}]"
        command = click.option(f"--{name}", metavar="FIELD", help=said)(command)
    return command


@click.command()
@click.argument("out", type=FILE)
@click.option(
    "--to",
    "forms",
    type=click.Choice([one.value for one in MetadataForm]),
    multiple=True,
    help="XMP sidecars, IPTC and XMP inside the files, or texts for trainers.  [default: xmp]",
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Folder that the names in OUT are relative to.  [default: this one]",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written.")
@click.option("--undo", "undoes", is_flag=True, help="Restore all files as they were.")
@_field_options
@json_option
def write(
    *,
    out: Path,
    forms: tuple[str, ...],
    pictures: Path,
    dry_run: bool,
    undoes: bool,
    as_json: bool,
    **fields: str | None,
) -> int:
    """Write the answers of OUT beside the pictures, where photo libraries read them.

    What people wrote stays: texts are only added where there are none, keywords are added to
    theirs. A file that changed since it was asked is left alone.
    """  # fmt: skip
    with errors_as_json(as_json):
        record = record_path(out)
        log = UndoLog(record.with_suffix(".undo.jsonl"))
        if undoes:
            return _undone(log, as_json=as_json)
        if MetadataForm.IPTC in forms:
            check_exiftool()
        writers = [
            MetadataWriter(MetadataForm(one), log, dry_run)
            for one in forms or (MetadataForm.XMP.value,)
        ]
        chosen = {name: field for name, field in fields.items() if field}
        counts: Counter[str] = Counter()
        with open_rows(record, ordered=True) as rows:
            for row in rows:
                for said in _row_written(row, pictures, writers, chosen):
                    counts[said] += 1
        return _said(counts, log, out, dry_run=dry_run, as_json=as_json)


def _row_written(
    row: dict[str, Any], folder: Path, writers: list[MetadataWriter], fields: dict[str, str]
) -> Iterator[str]:
    """Write a row's answer beside each of its pictures; yield what happened to each."""
    if row.get("error"):
        yield _NO_ANSWER
        return
    metadata = metadata_of(row, fields)
    if not metadata:
        yield _EMPTY
        return
    hashes = row.get("pictures") or []
    for place, name in enumerate(_names(row, folder)):
        asked = hashes[place] if place < len(hashes) else None
        for writer in writers:
            try:
                yield _picture_written(writer, row, metadata, folder / name, asked)
            except VisionqError as error:
                click.echo(error.message, err=True)
                yield _FAILED


def _picture_written(
    writer: MetadataWriter,
    row: dict[str, Any],
    metadata: PictureMetadata,
    picture: Path,
    asked: str | None,
) -> str:
    picture = picture.resolve()
    # Read again for each form: `iptc` changes the file.
    now = sha256_of_file(picture)
    if now is None:
        return _ABSENT
    if asked is None or (asked != now and asked != writer.log.original(picture)):
        return _CHANGED
    said = writer.write(
        picture,
        metadata,
        model=str(row.get("model") or ""),
        moment=str(row.get("finished_at") or ""),
    )
    return said.value


def _names(row: dict[str, Any], folder: Path) -> list[str]:
    """Return the names of a row's pictures; one may contain `; ` itself."""
    file = str(row.get("file") or "")
    return [file] if (folder / file).is_file() else list(filter(None, file.split("; ")))


def _undone(log: UndoLog, *, as_json: bool) -> int:
    if not log.path.is_file():
        raise RecordRefused(f"{log.path}: there is no such undo log: nothing was written")
    restored, left = undo(log)
    if as_json:
        print_json({"restored": restored, "changed": list(left)})
    else:
        click.echo(f"restored: {restored:,}")
    for said in left.values():
        click.echo(said, err=True)
    return EXIT_FAILED if left else 0


def _said(counts: Counter[str], log: UndoLog, out: Path, *, dry_run: bool, as_json: bool) -> int:
    if as_json:
        print_json({"dry_run": dry_run, "undo_log": str(log.path), **counts})
    else:
        parts = ", ".join(f"{said} {count:,}" for said, count in counts.most_common()) or "no rows"
        click.echo(f"{'would be ' if dry_run else ''}{parts}")
        if counts["written"] and not dry_run:
            click.echo(f"undo with: visionq write {quote(str(out))} --undo")
    return EXIT_FAILED if counts[_FAILED] else 0
