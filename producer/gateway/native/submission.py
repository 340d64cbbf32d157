"""A job as JSON or as a form with pictures, turned into the fields of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import UploadFile

from producer.gateway.bodies import parse_json
from producer.gateway.faults import Fault
from producer.gateway.requests import content_type
from visionq.contract import JobDocument
from visionq.errors import InvalidJob
from visionq.sdk.drafts import draft, most_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import FormData

    from producer.gateway.bodies import Room
    from visionq.sdk.drafts import Draft
    from visionq.settings import Settings

#: Fields that are not the client's to set.
_OURS: Final = {
    "tenant": "is that of the key",
    "batch_id": "is set by /v1/batches",
    "replay_of": "is set by `visionq jobs replay`",
    "schema_version": "is that of the gateway",
    "answer_format": "belongs to OpenAI's API; give `answer_schema`",
    "idempotency_key": "is given as the header Idempotency-Key",
}
#: Parts of a form that hold pictures, and addresses of pictures; each may come several times.
_PICTURE: Final = "image"
_ADDRESS: Final = "url"
#: Fields that a form gives as JSON.
_OBJECTS: Final = frozenset({"answer_schema", "extra_body", "metadata", "pictures"})
_MOST_PICTURES: Final = 500


def job_schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON Schema of the fields that a client may give, and those that it refers to."""
    schema = JobDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = schema.pop("$defs")
    for name in _OURS:
        schema["properties"].pop(name, None)
    definitions["ImageReference"]["properties"].pop("blob")
    schema["properties"]["images"]["items"]["required"] = ["url"]
    return schema, definitions


async def drafted(room: Room, own: Mapping[str, Any], settings: Settings, job_id: str) -> Draft:
    """Return the job that a request holds; `own` are fields that it may not set.

    Raises:
        VisionqError: as `visionq.sdk.drafts.draft` does.
        Fault: it is neither JSON nor a form, or gives a field that is not the client's to set.
    """
    kind = content_type(room.request)
    if kind == "application/json":
        raw = await room.body()
        return await room.work(_draft_of_json, raw, own, settings, job_id)
    if kind != "multipart/form-data":
        raise Fault(415, "unsupported_format", "send application/json or multipart/form-data")
    form = await room.read(room.request.form(max_files=_MOST_PICTURES, max_fields=100))
    try:
        fields = await _from_form(form, most_bytes({}, settings))
    finally:
        await form.close()
    _check_owner(fields)
    return await room.work(draft, {**fields, **own}, settings, job_id)


def _draft_of_json(raw: bytes, own: Mapping[str, Any], settings: Settings, job_id: str) -> Draft:
    return draft({**_from_json(raw), **own}, settings, job_id)


def check_fields(fields: dict[str, Any]) -> None:
    """Refuse what is not the client's to set, and pictures that are not given by an address.

    Raises:
        Fault: there is such a field; the fault names it.
    """
    _check_owner(fields)
    images = fields.get("images")
    for position, image in enumerate(images if isinstance(images, list) else ()):
        # The bytes of another tenant could be had by their hash.
        if isinstance(image, dict) and image.get("blob") is not None:
            raise _wrong(f"images.{position}.blob", "give an address, or the picture as data:…")
        if not isinstance(image, dict):
            raise _wrong(f"images.{position}", 'give an object with "url"')


def _check_owner(fields: dict[str, Any]) -> None:
    for name in _OURS.keys() & fields.keys():
        raise _wrong(name, _OURS[name])


def _wrong(field: str, what: str) -> Fault:
    return Fault(422, InvalidJob.code, f"{field}: {what}", param=field)


def _from_json(raw: bytes) -> dict[str, Any]:
    try:
        fields = parse_json(raw)
    except ValueError as error:
        raise _wrong("body", f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _wrong("body", "is no JSON object")
    check_fields(fields)
    return fields


async def _from_form(form: FormData, most: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    images: list[Any] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != _PICTURE:
                raise _wrong(name, f"pictures are given as `{_PICTURE}`")
            content = await value.read(most + 1)
            images.append((value.filename or _PICTURE, content))
        elif name == _PICTURE:
            raise _wrong(name, f"give a file; addresses are given as `{_ADDRESS}`")
        elif name == _ADDRESS:
            images.append({"url": value})
        elif name in fields or name == "images":
            raise _wrong(name, "is given twice" if name in fields else f"give `{_PICTURE}`")
        else:
            fields[name] = _object(name, value) if name in _OBJECTS else value
    return {**fields, "images": images}


def _object(name: str, text: str) -> Any:  # noqa: ANN401  # whatever JSON can say
    try:
        return parse_json(text.encode())
    except ValueError as error:
        raise _wrong(name, f"is not JSON: {error}") from None
