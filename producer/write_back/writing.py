"""Write the metadata of one picture: a sidecar, a text for trainers, or into the file."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from producer.write_back.undo_log import UndoLog, WrittenFile, replace_file, sha256_of
from producer.write_back.xmp import merged
from visionq.errors import RecordFailed, RecordRefused

if TYPE_CHECKING:
    from producer.write_back.picture_metadata import PictureMetadata

_EXIFTOOL: Final = "exiftool"
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


@dataclass(frozen=True, slots=True)
class MetadataWriter:
    """Writes in one form; a dry run writes nothing."""

    form: MetadataForm
    log: UndoLog
    dry_run: bool = False

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
            return self._write_text(picture.with_suffix(".txt"), metadata)
        return self._embed(picture, metadata)

    def _write_sidecar(
        self, picture: Path, metadata: PictureMetadata, *, model: str, moment: str
    ) -> WriteOutcome:
        path = sidecar_of(picture)
        before = _content(path)
        try:
            after = merged(before, metadata, model=model, moment=moment)
        except RecordRefused as error:
            raise RecordRefused(f"{path}: {error.message}: repair it or move it away") from None
        return self._replace(path, before, after)

    def _write_text(self, path: Path, metadata: PictureMetadata) -> WriteOutcome:
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
        copies = self.log.copies
        before = sha256_of(picture) or ""
        kept = copies / f"{before}{picture.suffix}"
        try:
            copies.mkdir(exist_ok=True)
            if not kept.exists():
                shutil.copy2(picture, kept)
            draft = copies / f"draft-{before}{picture.suffix}"
            draft.unlink(missing_ok=True)
            _exiftool("-o", str(draft), *arguments, str(picture))
            content = draft.read_bytes()
            draft.unlink()
        except OSError as error:
            raise RecordFailed(f"{picture}: can't be written: {error.strerror}") from None
        after = WrittenFile(
            str(picture), before, hashlib.sha256(content).hexdigest(), copy=str(kept)
        )
        self.log.note(after)
        replace_file(picture, content)
        return WriteOutcome.WRITTEN


def sidecar_of(picture: Path) -> Path:
    """Return the sidecar of a picture: `a.xmp` if that is there, else `a.jpg.xmp`."""
    short = picture.with_suffix(".xmp")
    return short if short.is_file() else picture.with_name(f"{picture.name}.xmp")


def undo(log: UndoLog) -> tuple[int, list[str]]:
    """Restore every file as it was; return how many, and those that were changed since.

    Raises:
        RecordFailed: a file can't be written.
    """
    restored, changed = 0, []
    current: dict[str, str | None] = {}
    for one in log.entries():
        path = Path(one.path)
        now = current.get(one.path, sha256_of(path))
        if now == one.before:
            current[one.path] = one.before  # its writing was interrupted, or it is undone
        elif now != one.after:
            if one.path not in changed:
                changed.append(one.path)
        else:
            _restore(path, one)
            current[one.path] = one.before
            restored += 1
    log.keep(changed)
    return restored, changed


def _restore(path: Path, one: WrittenFile) -> None:
    if one.copy is not None:
        replace_file(path, Path(one.copy).read_bytes())
    elif one.content is not None:
        replace_file(path, one.content)
    else:
        path.unlink(missing_ok=True)


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
        ("IPTC:ObjectName", metadata.title),
        ("XMP-dc:Title", metadata.title),
        ("IPTC:Caption-Abstract", metadata.description),
        ("XMP-dc:Description", metadata.description),
        ("XMP-iptcCore:AltTextAccessibility", metadata.alt),
    ]
    lists = [
        ("IPTC:Keywords", metadata.keywords),
        ("XMP-dc:Subject", metadata.keywords),
        ("XMP-lr:HierarchicalSubject", metadata.hierarchy),
    ]
    found = [f"-{tag}={value}" for tag, value in texts if value and not there.get(tag)]
    for tag, values in lists:
        held = there.get(tag, [])
        known = {str(one).casefold() for one in (held if isinstance(held, list) else [held])}
        found += [f"-{tag}+={value}" for value in values if value.casefold() not in known]
    return [*found, "-IPTC:CodedCharacterSet=UTF8"] if found else []


def _embedded(picture: Path) -> dict[str, Any]:
    """Return the metadata in a file, as group:tag → value."""
    shown = _exiftool("-json", "-G1", "-IPTC:all", "-XMP:all", str(picture))
    found: dict[str, Any] = json.loads(shown)[0]
    return found


def _exiftool(*arguments: str) -> str:
    command = [_EXIFTOOL, "-charset", "iptc=UTF8", "-charset", "filename=UTF8", *arguments]
    try:
        done = subprocess.run(  # noqa: S603  # arguments, no shell; values can't begin an option
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
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
