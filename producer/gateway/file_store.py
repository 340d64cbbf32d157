"""Uploaded files in a directory shared by all gateways: content and record."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final

from visionq.contract.base import Document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ID: Final = re.compile(r"file-[0-9a-f]{32}")
_RECORD: Final = ".json"
_CONTENT: Final = ".data"
_DRAFT: Final = ".part"
#: Bytes that are copied at a time.
_CHUNK: Final = 1 << 20
#: Seconds after which a draft is abandoned.
_ABANDONED: Final = 24 * 3600


class StoredFile(Document):
    """The record of a file."""

    id: str
    bytes: int
    #: Seconds since the epoch, as are all times here.
    created_at: int
    expires_at: int
    filename: str
    purpose: str


class FileStore:
    """Files in one directory per tenant; a file is complete or absent."""

    def __init__(self, root: Path, ttl: int) -> None:
        """Keep files for `ttl` seconds."""
        self._root = root
        self._ttl = ttl

    def add(self, tenant: str, purpose: str, filename: str, source: IO[bytes]) -> StoredFile:
        """Copy a file into the store."""
        with self.writing(tenant, purpose, filename) as (target, record):
            shutil.copyfileobj(source, target, _CHUNK)
        return self._complete(tenant, record)

    @contextmanager
    def writing(
        self, tenant: str, purpose: str, filename: str
    ) -> Iterator[tuple[IO[bytes], StoredFile]]:
        """Give a file to write, and its record without length.

        The file is kept if the block succeeds and has written something.
        """
        folder = self._folder(tenant)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        now = int(time.time())
        record = StoredFile(
            id=f"file-{uuid.uuid4().hex}",
            bytes=0,
            created_at=now,
            expires_at=now + self._ttl,
            filename=filename,
            purpose=purpose,
        )
        draft = folder / f"{record.id}{_DRAFT}"
        try:
            with draft.open("wb") as target:
                yield target, record
                target.flush()
                os.fsync(target.fileno())
                size = target.tell()
            if size:
                draft.rename(folder / f"{record.id}{_CONTENT}")
                self._write(folder, record.model_copy(update={"bytes": size}))
        finally:
            draft.unlink(missing_ok=True)

    def get(self, tenant: str, file_id: str) -> StoredFile | None:
        """Return a file of the tenant, or None."""
        if not _ID.fullmatch(file_id):
            return None
        with suppress(FileNotFoundError):
            text = (self._folder(tenant) / f"{file_id}{_RECORD}").read_bytes()
            record = StoredFile.model_validate_json(text, extra="ignore")
            return record if record.expires_at > time.time() else None
        return None

    def path(self, tenant: str, file_id: str) -> Path:
        """Return the path of a file's content."""
        return self._folder(tenant) / f"{file_id}{_CONTENT}"

    def list(self, tenant: str) -> list[StoredFile]:
        """Return the tenant's files, newest first."""
        ids = [path.stem for path in self._folder(tenant).glob(f"*{_RECORD}")]
        found = [record for file_id in ids if (record := self.get(tenant, file_id))]
        return sorted(found, key=lambda record: (record.created_at, record.id), reverse=True)

    def delete(self, tenant: str, file_id: str) -> bool:
        """Delete a file of the tenant; return whether it existed."""
        if self.get(tenant, file_id) is None:
            return False
        for suffix in (_RECORD, _CONTENT):
            (self._folder(tenant) / f"{file_id}{suffix}").unlink(missing_ok=True)
        return True

    def sweep(self, now: float) -> None:
        """Delete expired files and abandoned drafts."""
        for path in self._root.glob(f"*/*{_DRAFT}"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < now - _ABANDONED:
                    path.unlink()
        for path in self._root.glob(f"*/*{_CONTENT}"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < now - self._ttl:
                    path.with_suffix(_RECORD).unlink(missing_ok=True)
                    path.unlink()

    def _complete(self, tenant: str, record: StoredFile) -> StoredFile:
        return self.get(tenant, record.id) or record

    def _folder(self, tenant: str) -> Path:
        # A tenant's name may be `..`.
        return self._root / f"tenant-{tenant}"

    @staticmethod
    def _write(folder: Path, record: StoredFile) -> None:
        draft = folder / f"{record.id}{_RECORD}{_DRAFT}"
        draft.write_text(record.to_json(), encoding="utf-8")
        draft.rename(folder / f"{record.id}{_RECORD}")
