"""The account's files: uploads and batch results, on disk, never whole in memory."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import BodyPartReader

from visionq.devstack.simulator.refusals import by_openai, missing, wrong_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aiohttp import MultipartReader

#: Bytes of the largest upload, and of a piece of one.
MAX_UPLOAD: Final = 512_000_000
PIECE: Final = 262_144
#: Rows of a page, where none are asked for, and at most.
FILES_OF_A_PAGE: Final = 10_000


@dataclass(frozen=True)
class SimulatedFile:
    """One file of the account."""

    id: str
    filename: str
    purpose: str
    path: Path
    bytes: int
    created_at: int

    def to_public(self) -> dict[str, Any]:
        """Return the file object (openai 3.54)."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "expires_at": None,
            "status_details": None,
        }


class SimulatedFiles:
    """All files of the account, oldest first."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        """Keep them in `directory`; `clock` is seconds since the epoch."""
        self._directory = directory
        self._clock = clock
        self._files: dict[str, SimulatedFile] = {}

    def new_path(self) -> Path:
        """Return a path to write a file to before `add`."""
        return self._directory / uuid.uuid4().hex

    def add(self, path: Path, filename: str, purpose: str) -> SimulatedFile:
        """Add a file written to a path from `new_path`."""
        file_id = f"file-{uuid.uuid4().hex[:24]}"
        size, now = path.stat().st_size, int(self._clock())
        file = SimulatedFile(file_id, filename, purpose, path, size, now)
        self._files[file_id] = file
        return file

    async def receive(self, parts: MultipartReader) -> SimulatedFile:
        """Write an upload to disk as it arrives; a refusal leaves no file behind."""
        path = self.new_path()
        try:
            filename, purpose = await _received(parts, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return self.add(path, filename, purpose)

    def get(self, file_id: str, param: str = "id") -> SimulatedFile:
        """Return a file, or refuse."""
        if file_id not in self._files:
            message = f"No such File object: {file_id}"
            raise by_openai(message, status=404, param=param, code=None)
        return self._files[file_id]

    def delete(self, file_id: str) -> dict[str, Any]:
        """Delete a file, or refuse."""
        self.get(file_id).path.unlink(missing_ok=True)
        del self._files[file_id]
        return {"id": file_id, "object": "file", "deleted": True}

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of the files of a purpose."""
        wanted = query.get("purpose")
        rows = [file for file in self._files.values() if wanted in {None, file.purpose}]
        if query.get("order") != "asc":
            rows.reverse()
        return page_of([file.to_public() for file in rows], query, FILES_OF_A_PAGE)


async def _received(parts: MultipartReader, path: Path) -> tuple[str, str]:
    filename, purpose = None, None
    async for part in parts:
        if not isinstance(part, BodyPartReader):
            continue
        if part.name == "purpose":
            purpose = await part.text()
        elif part.name == "file":
            filename = part.filename or "file"
            await _written(part, path)
    if filename is None:
        raise missing("file")
    if purpose != "batch":
        raise wrong_value("purpose", purpose, ("batch",))
    return filename, purpose


async def _written(part: BodyPartReader, path: Path) -> None:
    size = 0
    with path.open("wb") as file:  # a page cache takes it without waiting
        while piece := await part.read_chunk(PIECE):
            size += len(piece)
            if size > MAX_UPLOAD:
                message = f"File is too large: at most {MAX_UPLOAD} bytes are allowed."
                raise by_openai(message, status=413, param="file", code="file_too_large")
            file.write(piece)


def page_of(
    rows: list[dict[str, Any]], query: Mapping[str, str], most: int, usual: int | None = None
) -> dict[str, Any]:
    """Return the page of rows behind `after`, of `limit` rows, from 1 to `most`."""
    text = query.get("limit", str(usual or most))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        message = f"Invalid 'limit': expected a value from 1 to {most}, but got {text[:32]}."
        raise by_openai(message, param="limit", code="invalid_value")
    after = query.get("after")
    ids = [row["id"] for row in rows]
    if after is not None and after not in ids:
        raise by_openai("Invalid 'after'.", param="after", code="invalid_value")
    start = 0 if after is None else ids.index(after) + 1
    page = rows[start : start + int(text)]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + len(page) < len(rows),
    }
