"""Write the metadata of one picture: a sidecar, a text for trainers, or into the file."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from producer.write_back.undo_log import UndoLog, WrittenFile, replace_file, sha256_of_file
from producer.write_back.xmp import merged
from visionq.blobs import sha256_of
from visionq.errors import RecordFailed, RecordRefused, VisionqError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from producer.write_back.picture_metadata import PictureMetadata

_EXIFTOOL: Final = "exiftool"
_IPTC: Final = "IPTC:"
#: Most bytes of a title or keyword, and of a description, in IPTC's older form.
_IPTC_WORD, _IPTC_TEXT = 64, 2_000
_SECONDS: Final = 60


class MetadataForm(StrEnum):
    """Where the metadata goes."""

    XMP = "xmp"
    IPTC = "iptc"
    TXT = "txt"


class WriteOutcome(StrEnum):
    """What happened to a file."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    #: Other people's text is there.
    KEPT = "kept"
    #: Another picture of the same name, but for its suffix, has the file.
    TAKEN = "has the file name of another picture"


@dataclass(frozen=True, slots=True)
class MetadataWriter:
    """Writes in one form; a dry run writes nothing."""

    form: MetadataForm
    log: UndoLog
    dry_run: bool = False
    #: File beside pictures → the picture that it is of, in this run.
    _owners: dict[Path, Path] = field(default_factory=dict)

    def write(
        self, picture: Path, metadata: PictureMetadata, *, model: str, moment: str
    ) -> WriteOutcome:
        """Write the metadata of a picture.

        Raises:
            RecordRefused: the file that is there can't be merged; it is unchanged.
            RecordFailed: the file can't be written.
        """
        if self.form is MetadataForm.XMP:
            return self._write_sidecar(picture, metadata, model=model, moment=moment)
        if self.form is MetadataForm.TXT:
            return self._write_text(picture, metadata)
        return self._embed(picture, metadata)

    def _write_sidecar(
        self, picture: Path, metadata: PictureMetadata, *, model: str, moment: str
    ) -> WriteOutcome:
        path = sidecar_of(picture)
        if not self._owns(path, picture):
            path = full_sidecar_of(picture)
        before = _content(path)
        try:
            after = merged(before, metadata, model=model, moment=moment)
        except RecordRefused as error:
            raise RecordRefused(f"{path}: {error.message}: repair it or move it away") from None
        return self._replace(path, before, after)

    def _owns(self, path: Path, picture: Path) -> bool:
        """Return whether no other picture has the file: `a.jpg` and `a.png` would share `a.txt`."""
        return self._owners.setdefault(path, picture) == picture

    def _write_text(self, picture: Path, metadata: PictureMetadata) -> WriteOutcome:
        path = picture.with_suffix(".txt")
        if not self._owns(path, picture):
            return WriteOutcome.TAKEN
        before, after = _content(path), f"{metadata.caption}\n".encode()
        if before is not None and before.strip() and before != after and not self.log.is_ours(path):
            return WriteOutcome.KEPT
        return self._replace(path, before, None if before == after else after)

    def _replace(self, path: Path, before: bytes | None, after: bytes | None) -> WriteOutcome:
        if after is None:
            return WriteOutcome.UNCHANGED
        if not self.dry_run:
            self.log.replace(path, after, before)
        return WriteOutcome.WRITTEN

    def _embed(self, picture: Path, metadata: PictureMetadata) -> WriteOutcome:
        """Embed by exiftool in a copy, which then replaces the picture."""
        arguments = embedded_arguments(_embedded(picture), metadata)
        if not arguments:
            return WriteOutcome.UNCHANGED
        if self.dry_run:
            return WriteOutcome.WRITTEN
        before = sha256_of_file(picture) or ""
        kept = self.log.keep_original(picture, before)
        draft = kept.with_name(f"draft-{kept.name}")
        try:
            draft.unlink(missing_ok=True)
            _exiftool("-o", str(draft), *arguments, str(kept))
            content = draft.read_bytes()
            draft.unlink()
        except OSError as error:
            raise RecordFailed(f"{picture}: can't be written: {error.strerror}") from None
        written = sha256_of(content)
        if written == before:  # a format that can't hold the rest
            return WriteOutcome.UNCHANGED
        if sha256_of_file(picture) != before:
            raise RecordRefused(f"{picture}: it changed while it was written: left alone")
        self.log.note(WrittenFile(str(picture), before, written, copy=str(kept)))
        replace_file(picture, content)
        return WriteOutcome.WRITTEN


def full_sidecar_of(picture: Path) -> Path:
    """Return `a.jpg.xmp`, which no other picture has."""
    return picture.with_name(f"{picture.name}.xmp")


def sidecar_of(picture: Path) -> Path:
    """Return the sidecar of a picture: `a.xmp` if that is there, else `a.jpg.xmp`."""
    short = picture.with_suffix(".xmp")
    return short if short.is_file() else full_sidecar_of(picture)


def undo(log: UndoLog) -> tuple[int, dict[str, str]]:
    """Restore every file as it was; return how many, and why others were left alone.

    Raises:
        RecordRefused: the log can't be read.
        RecordFailed: the log can't be written.
    """
    restored = 0
    left: dict[str, str] = {}
    for one in log.entries():
        try:
            now = sha256_of_file(Path(one.path))
            if now == one.before:
                left.pop(one.path, None)  # its writing was interrupted, or it is undone
            elif now != one.after:
                left.setdefault(one.path, f"{one.path}: changed since it was written, left alone")
            else:
                _restore(Path(one.path), one)
                left.pop(one.path, None)
                restored += 1
        except VisionqError as error:
            left[one.path] = error.message
    log.keep(left)
    return restored, left


def _restore(path: Path, one: WrittenFile) -> None:
    try:
        content = one.content if one.copy is None else Path(one.copy).read_bytes()
        if content is None:
            path.unlink(missing_ok=True)
            return
    except OSError as error:
        raise RecordFailed(f"{path}: can't be restored: {error}") from None
    if sha256_of(content) != one.before:
        raise RecordRefused(f"{one.copy or path}: not what was there before: left alone")
    replace_file(path, content)


def check_exiftool() -> None:
    """Check that exiftool is installed.

    Raises:
        RecordRefused: it is not.
    """
    if shutil.which(_EXIFTOOL) is None:
        raise RecordRefused("--to iptc needs exiftool: apt install libimage-exiftool-perl")


def embedded_arguments(there: dict[str, Any], metadata: PictureMetadata) -> list[str]:
    """Return exiftool's arguments for what the file lacks; empty if it lacks nothing."""
    texts = [
        ("IPTC:ObjectName", _cut(metadata.title, _IPTC_WORD)),
        ("XMP-dc:Title", metadata.title),
        ("IPTC:Caption-Abstract", _cut(metadata.description, _IPTC_TEXT)),
        ("XMP-dc:Description", metadata.description),
        ("XMP-iptcCore:AltTextAccessibility", metadata.alt),
    ]
    lists = [
        ("IPTC:Keywords", _each_cut(metadata.keywords)),
        ("XMP-dc:Subject", metadata.keywords),
        ("XMP-lr:HierarchicalSubject", metadata.hierarchy),
    ]
    if not _is_utf8(there):  # marking it as UTF-8 would spoil what people wrote
        texts = [(tag, value) for tag, value in texts if not tag.startswith(_IPTC)]
        lists = [(tag, values) for tag, values in lists if not tag.startswith(_IPTC)]
    found = [f"-{tag}={value}" for tag, value in texts if value and not there.get(tag)]
    for tag, values in lists:
        held = there.get(tag, [])
        known = {str(one).casefold() for one in (held if isinstance(held, list) else [held])}
        found += [f"-{tag}+={value}" for value in values if value.casefold() not in known]
    marks = any(one.startswith(f"-{_IPTC}") for one in found)
    return [*found, "-IPTC:CodedCharacterSet=UTF8"] if marks else found


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore").strip()


def _each_cut(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_cut(value, _IPTC_WORD) for value in values))


def _is_utf8(there: dict[str, Any]) -> bool:
    """Return whether all IPTC of a file is marked as UTF-8, or ASCII."""
    if "UTF8" in str(there.get(f"{_IPTC}CodedCharacterSet")):
        return True
    return all(str(value).isascii() for tag, value in there.items() if tag.startswith(_IPTC))


def _embedded(picture: Path) -> dict[str, Any]:
    """Return the metadata in a file, as group:tag → value."""
    shown = _exiftool("-json", "-G1", "-IPTC:all", "-XMP:all", str(picture))
    # Keywords such as 1e5 come as numbers.
    found: dict[str, Any] = json.loads(shown, parse_float=str, parse_int=str)[0]
    return found


def _exiftool(*arguments: str) -> str:
    command = [_EXIFTOOL, "-charset", "filename=UTF8", *arguments]
    try:
        done = subprocess.run(  # noqa: S603  # arguments, no shell; values can't begin an option
            command, capture_output=True, encoding="utf-8", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RecordFailed(f"exiftool: {error}") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise RecordRefused(f"exiftool: {said}")
    return done.stdout


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordRefused(f"{path}: can't be read: {error.strerror}") from None
