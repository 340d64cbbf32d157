"""`visionq write`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from producer.run.record_index import open_rows
from producer.run.table import record_path
from producer.write_back.picture_metadata import USUAL_FIELDS, metadata_of
from producer.write_back.undo_log import UndoLog, sha256_of
from producer.write_back.writing import MetadataForm, MetadataWriter, check_exiftool, undo
from visionq.cli.shared import EXIT_FAILED, FILE, errors_as_json, json_option, print_json
from visionq.errors import RecordRefused, VisionqError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        return _said(counts, log, dry_run=dry_run, as_json=as_json)


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
        picture = (folder / name).resolve()
        now = sha256_of(picture) if "://" not in name else None
        if now is None:
            yield _ABSENT
            continue
        asked = hashes[place] if place < len(hashes) else None
        for writer in writers:
            if asked not in (now, writer.log.original(picture)):
                yield _CHANGED
                continue
            try:
                yield writer.write(
                    picture,
                    metadata,
                    model=str(row.get("model") or ""),
                    moment=str(row.get("finished_at") or ""),
                ).value
            except VisionqError as error:
                click.echo(error.message, err=True)
                yield _FAILED


def _names(row: dict[str, Any], folder: Path) -> list[str]:
    """Return the names of a row's pictures; one may contain `; ` itself."""
    file = str(row.get("file") or "")
    return [file] if (folder / file).is_file() else list(filter(None, file.split("; ")))


def _undone(log: UndoLog, *, as_json: bool) -> int:
    if not log.path.is_file():
        raise RecordRefused(f"{log.path}: there is no such undo log: nothing was written")
    restored, changed = undo(log)
    if as_json:
        print_json({"restored": restored, "changed": changed})
    else:
        click.echo(f"restored: {restored:,}")
        for path in changed:
            click.echo(f"{path}: changed since it was written, left alone", err=True)
    return EXIT_FAILED if changed else 0


def _said(counts: Counter[str], log: UndoLog, *, dry_run: bool, as_json: bool) -> int:
    if as_json:
        print_json({"dry_run": dry_run, "undo_log": str(log.path), **counts})
    else:
        parts = ", ".join(f"{said} {count:,}" for said, count in counts.most_common()) or "no rows"
        click.echo(f"{'would be ' if dry_run else ''}{parts}")
        if counts["written"] and not dry_run:
            click.echo(
                f"undo with: visionq write {log.path.stem.removesuffix('.undo')}.jsonl --undo"
            )
    return EXIT_FAILED if counts[_FAILED] else 0
