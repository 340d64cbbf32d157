"""`/v1/files`: the input and output files of batches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final, Literal

from fastapi import APIRouter, Depends, File, Form, Path, Query, Request, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from producer.gateway.dependencies import ERRORS, Caller, Open
from producer.gateway.http_errors import ApiError
from producer.openai_requests.unsupported import Part

if TYPE_CHECKING:
    from producer.gateway.dependencies import Services
    from producer.gateway.file_store import StoredFile

router = APIRouter(prefix="/v1/files", responses=ERRORS)

#: Characters of a form field's name in messages.
_LONGEST_NAME: Final = 100

FileId = Annotated[str, Path(max_length=64, examples=["file-0123456789abcdef0123456789abcdef"])]


class FileObject(BaseModel):
    """A file in OpenAI's form."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    """Files, newest first."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileQuery(Part):
    """The files to list."""

    purpose: Literal["batch", "batch_output"] | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    after: Annotated[str, Field(max_length=64)] | None = None
    order: Literal["asc", "desc"] = "desc"


class FileDeleted(BaseModel):
    """A deleted file."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


async def _known_fields(request: Request) -> None:
    """Refuse unknown fields in the form of an upload."""
    for name in await request.form():
        if name in {"file", "purpose"}:
            continue
        said = "not supported here"
        if name.startswith("expires_after"):
            said = "not supported: the operator decides how long files are kept"
        field = name[:_LONGEST_NAME]
        raise ApiError(400, "invalid_job", f"{field}: {said}", param=field)


@router.post("", summary="Upload a batch's input file", dependencies=[Depends(_known_fields)])
async def upload_file(
    services: Open,
    key: Caller,
    file: Annotated[UploadFile, File(description="Lines of JSON, each a request")],
    purpose: Annotated[Literal["batch"], Form()],
) -> FileObject:
    """Store a file; it goes to disk while it arrives."""
    name = (file.filename or "upload.jsonl")[-255:]
    stored = await asyncio.to_thread(services.files.add, key.tenant, purpose, name, file.file)
    if stored.bytes == 0:
        raise ApiError(400, "empty_file", "file: it is empty", param="file")
    return _object(stored)


@router.get("", summary="List files")
async def list_files(services: Open, key: Caller, page: Annotated[FileQuery, Query()]) -> FileList:
    """Return the tenant's files."""
    known = await asyncio.to_thread(services.files.list, key.tenant)
    files = [one for one in known if page.purpose in {None, one.purpose}]
    if page.order == "asc":
        files.reverse()
    ids = [one.id for one in files]
    rest = files[ids.index(page.after) + 1 :] if page.after in ids else files
    shown = [_object(one) for one in rest[: page.limit]]
    return FileList(
        data=shown,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
        has_more=len(rest) > page.limit,
    )


@router.get("/{file_id}", summary="Look at a file")
async def get_file(file_id: FileId, services: Open, key: Caller) -> FileObject:
    """Return the record of a file."""
    return _object(await find_file(services, key.tenant, file_id))


@router.get(
    "/{file_id}/content",
    summary="Download a file",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}},
)
async def download_file(file_id: FileId, services: Open, key: Caller) -> FileResponse:
    """Return the content, read from disk while it is sent."""
    stored = await find_file(services, key.tenant, file_id)
    path = services.files.path(key.tenant, file_id)
    return FileResponse(path, media_type="application/octet-stream", filename=stored.filename)


@router.delete("/{file_id}", summary="Delete a file")
async def delete_file(file_id: FileId, services: Open, key: Caller) -> FileDeleted:
    """Delete a file, unless an unfinished batch needs it."""
    await find_file(services, key.tenant, file_id)
    reader = await services.batches.reader_of(key.tenant, file_id)
    if reader is not None:
        message = f"batch {reader} still reads the file {file_id}; cancel it, or wait for its end"
        raise ApiError(409, "file_in_use", message)
    await asyncio.to_thread(services.files.delete, key.tenant, file_id)
    return FileDeleted(id=file_id)


async def find_file(services: Services, tenant: str, file_id: str) -> StoredFile:
    """Return a file of the tenant.

    Raises:
        ApiError: there is no such file.
    """
    stored = await asyncio.to_thread(services.files.get, tenant, file_id)
    if stored is None:
        raise ApiError(404, "file_not_found", f"there is no file {file_id}")
    return stored


def _object(stored: StoredFile) -> FileObject:
    return FileObject(**stored.model_dump())
