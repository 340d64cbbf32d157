"""Open the source that a command line names, with the options that describe it."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from producer.sources.bucket import SCHEME, Bucket
from producer.sources.files import (
    PICTURE_SUFFIXES,
    Files,
    has_magic,
    is_picture,
    open_file,
    open_folder,
    open_glob,
)
from producer.sources.manifest import (
    CsvManifest,
    JsonlManifest,
    Listing,
    OpenAIBatch,
    is_batch,
    parse_object,
)
from producer.sources.source import KINDS, Source, SourceOptions, group_by
from producer.sources.text_file import TextFile, read_text_file
from visionq.cli.shared import with_options
from visionq.errors import InvalidSource
from visionq.sdk.images import is_url

if TYPE_CHECKING:
    from producer.sources.source import Kind


_OPTIONS = (
    click.option(
        "--format", "kind", type=click.Choice(KINDS), default="auto", help="What SOURCE holds."
    ),
    click.option(
        "--image-column",
        "image_columns",
        multiple=True,
        help="Column with pictures; repeat for more.  [default: by its name]",
    ),
    click.option("--id-column", help="Column with ids.  [default: by its name]"),
    click.option("--encoding", help="Encoding of SOURCE.  [default: UTF-8, else CP1251]"),
    click.option("--group", is_flag=True, help="Make one row of rows with the same id."),
    click.option(
        "--group-by",
        metavar="folder|REGEX",
        help="Make one row of the pictures of a folder, or of those named alike: '(.+)_\\d+'.",
    ),
    click.option("--delimiter", help="Delimiter of a CSV.  [default: detected]"),
)


#: The options that `take_source_options` reads.
source_options = with_options(*_OPTIONS)


def take_source_options(options: dict[str, Any]) -> SourceOptions:
    """Remove the options from a command's parameters and return them."""
    names = SourceOptions.__dataclass_fields__
    chosen = {name: options.pop(name) for name in names if name in options}
    delimiter = chosen.get("delimiter")
    if delimiter is not None:
        chosen["delimiter"] = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
        if len(chosen["delimiter"]) != 1:
            raise click.BadParameter("one character, or `tab`", param_hint="--delimiter")
    if chosen.get("group_by") is not None:
        try:
            chosen["group_by"] = group_by(chosen["group_by"])
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--group-by") from None
    return SourceOptions(**chosen)


#: The name that means standard input.
STDIN: Final = "-"
#: The first line of a JSON array, or of an object over several lines.
_DOCUMENT: Final = re.compile(r'\[\s*(?:[{\["].*)?|\{')
_DEFAULTS: Final = SourceOptions()
_BY_SUFFIX: Final[dict[str, Kind]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def open_source(
    spec: str, *, options: SourceOptions = _DEFAULTS, stdin: BinaryIO | None = None
) -> Source:
    """Return the source that `spec` names.

    `spec` is a folder, a glob, a manifest (CSV or JSONL), a list of addresses or files, OpenAI
    Batch input, one picture, `s3://bucket/prefix`, or `-` for standard input, which goes to a
    temporary file so that it can be read twice.

    Raises:
        InvalidSource: it does not exist or can't be read; one line says why.
    """
    source = _open(spec, options, stdin)
    if options.group:
        if not source.has_ids:
            message = f"{source.description}: --group needs a column of ids (--id-column)"
            raise InvalidSource(message)
        source.groups = True
    if options.group_by:
        if not isinstance(source, Files | Bucket):
            raise InvalidSource(
                f"{source.description}: --group-by is for folders, globs and buckets; rows of a"
                " table are grouped by their ids (--group)"
            )
        source.group_by = options.group_by
    return source


def _open(spec: str, options: SourceOptions, stdin: BinaryIO | None) -> Source:
    if spec == STDIN:
        return _from_stdin(stdin or sys.stdin.buffer, options)
    if spec.startswith(SCHEME):
        return Bucket(spec)
    if is_url(spec):
        raise InvalidSource(f"{spec[:80]}: give addresses in a file, one a line, or on stdin (-)")
    path = Path(spec)
    if path.is_dir():
        return open_folder(path)
    if path.is_file():
        return _from_file(path, options)
    if path.exists():  # a pipe, such as the shell's <(…)
        with path.open("rb") as pipe:
            return _from_stdin(pipe, options)
    if has_magic(spec):
        return open_glob(spec)
    raise InvalidSource(f"{spec}: there is no such file or folder")


def _from_file(path: Path, options: SourceOptions) -> Source:
    if options.kind == "auto" and _looks_like_picture(path):
        return open_file(path)
    file = read_text_file(path, options.encoding)
    suffix = path.suffix.lower()
    if suffix == ".tsv" and options.delimiter is None:
        options = replace(options, delimiter="\t")
    return _from_text(file, path.name, path.parent, options, _BY_SUFFIX.get(suffix))


def _looks_like_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES or is_picture(path)


def _from_stdin(stdin: BinaryIO, options: SourceOptions) -> Source:
    with tempfile.NamedTemporaryFile(prefix="visionq-", delete=False) as kept:
        path = Path(kept.name)
        try:
            shutil.copyfileobj(stdin, kept)
        except BaseException:
            path.unlink()
            raise
    try:
        text = read_text_file(path, options.encoding)
        source = _from_text(text, "standard input", Path(), options, None)
    except InvalidSource:
        path.unlink()
        raise
    weakref.finalize(source, path.unlink, missing_ok=True)
    return source


def _from_text(
    file: TextFile, name: str, folder: Path, options: SourceOptions, usual: Kind | None
) -> Source:
    """Return the source in a text, of a kind given, usual, or found by content."""
    kind = options.kind if options.kind != "auto" else usual
    _, first = next(file.lines(), (0, ""))
    record = parse_object(first) if first.startswith("{") else None
    if kind in ("jsonl", None) and _DOCUMENT.fullmatch(first):
        raise InvalidSource(
            f"{name}: one JSON document, not JSONL: put each object on a line of its own"
            " (jq -c '.[]' does)"
        )
    if kind == "csv":
        return CsvManifest(file, name, folder, options)
    if kind == "openai-batch" or (options.kind == "auto" and is_batch(record)):
        return OpenAIBatch(file, name)
    if kind == "jsonl" or (kind is None and record is not None):
        return JsonlManifest(file, name, folder, options)
    return Listing(file, name, folder)
