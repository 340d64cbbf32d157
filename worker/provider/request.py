"""Build path and body of a job's call, for both APIs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from visionq.answer_schemas import ANY_OBJECT, check_schema
from visionq.contract import Api
from visionq.crops import crops_note
from visionq.errors import InvalidJob
from visionq.pricing.prompt_cache import BREAKPOINT, cache_plan
from visionq.providers import ProviderProfile, load_profile
from worker.provider.picture_checks import extra_tokens, instruction, wrapped_schema
from worker.provider.strict import strict_form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.contract import InvalidAnswer, JobDocument, PromptCache
    from visionq.pricing.prompt_cache import CachePlan
    from worker.provider.checked_usage import Expected

PATHS: Final = {Api.RESPONSES: "/responses", Api.CHAT_COMPLETIONS: "/chat/completions"}

#: Always the same, so that equal schemas keep the provider's prompt cache warm.
_SCHEMA_NAME: Final = "answer"
#: What closes the texts and pictures of the question, and the body with them.
_CONTENT_END: Final = b"]}]}"


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A call, ready to be sent: all that shapes the answer is in `path` and `body`."""

    api: Api
    path: str
    #: JSON in UTF-8.
    body: bytes = field(repr=False)
    #: What people call the pictures, in the order in which they are sent.
    images: tuple[str, ...]
    #: The job's own schema, which the answer is checked against.
    answer_schema: dict[str, Any] | None = field(default=None, repr=False)
    #: Requirements of the pictures that the model is asked about, beside the question.
    asked: tuple[str, ...] = ()
    model: str = ""
    #: Whom it goes to.
    profile: ProviderProfile = field(default_factory=load_profile, repr=False)
    #: None: what the provider says that the call counted is believed as far as any call counts.
    expected: Expected | None = None
    #: Seconds that the call may take; None: as long as any.
    patience: float | None = None
    #: Bytes of the body beside the pictures.
    text_bytes: int = 0
    #: The most that the answer may have, in tokens, and how long the model is to think.
    max_output_tokens: int | None = None
    effort: str | None = None


def build_request(
    job: JobDocument,
    sources: Sequence[str | bytes],
    asked: tuple[str, ...] = (),
    prompt_cache: PromptCache | None = None,
    *,
    parts: Sequence[int] | None = None,
    takes_detail: bool = True,
) -> ProviderRequest:
    """Build the call of a job.

    Args:
        job: with model and limit of output tokens filled in: no call goes without a limit.
        sources: the bytes of a data URL, which are sent as they are, or an address that the
            provider fetches, for each picture in order.
        asked: requirements of the pictures that the model reports on in the same answer.
        prompt_cache: what the provider is to keep of the prompt, where the job does not say.
        parts: how many of the sources are crops of each picture; None: each picture is one.
        takes_detail: whether the model takes `detail`, which is then said of every picture.

    Raises:
        InvalidJob: the job has no model or no limit, or its schema is none.
        ValueError: there are more or fewer sources than pictures.
    """
    parts = parts or (1,) * len(job.images)
    if len(sources) != sum(parts):
        raise ValueError(f"{sum(parts)} pictures, but {len(sources)} sources")
    if job.model is None or job.max_output_tokens is None:
        missing = "model" if job.model is None else "max_output_tokens"
        raise InvalidJob(f"{missing}: none given, and no default filled in")
    if job.answer_schema is not None:
        check_schema(job.answer_schema)
    build = _responses if job.api is Api.RESPONSES else _chat
    sent = with_report(job, asked, len(sources))
    note = crops_note(parts)
    texts = [job.prompt, note] if note else [job.prompt]
    detail = {"detail": job.detail.value} if takes_detail else {}
    text = _encode(build(sent, texts, cache_plan(sent, prompt_cache)))
    body = _with_pictures(text, sources, _picture(job.api, detail))
    return ProviderRequest(
        api=job.api,
        path=PATHS[job.api],
        body=body,
        images=tuple(
            image.label(position)
            for position, (image, count) in enumerate(zip(job.images, parts, strict=True))
            for _ in range(count)
        ),
        answer_schema=job.answer_schema,
        asked=asked,
        model=job.model,
        text_bytes=len(body) - sum(map(len, sources)),
        max_output_tokens=sent.max_output_tokens,
        effort=job.effort,
    )


def with_report(job: JobDocument, asked: tuple[str, ...], pictures: int) -> JobDocument:
    """Return the job with the report on its pictures as a part of it."""
    if not asked:
        return job
    addition = instruction(asked, pictures)
    return job.model_copy(
        update={
            "instructions": addition
            if job.instructions is None
            else f"{job.instructions}\n\n{addition}",
            "answer_schema": wrapped_schema(asked, pictures, job.answer_schema),
            "max_output_tokens": (job.max_output_tokens or 0) + extra_tokens(asked, pictures),
        }
    )


def _responses(job: JobDocument, texts: Sequence[str], cache: CachePlan | None) -> dict[str, Any]:
    # What stays the same from job to job goes first: the provider caches prefixes.
    content = [{"type": "input_text", "text": text} for text in texts]
    body: dict[str, Any] = {"model": job.model, "store": False}
    messages: list[dict[str, Any]] = []
    instructions = _instructions(job)
    if instructions is not None and cache is not None and cache.breakpoint:
        messages.append({"role": "developer", "content": [_kept("input_text", instructions)]})
    elif instructions is not None:
        body["instructions"] = instructions
    passed = _passed_through(job)
    text: dict[str, Any] = {}
    if job.answer_schema == ANY_OBJECT:
        text["format"] = {"type": "json_object"}
    elif job.answer_schema is not None:
        text["format"] = {"type": "json_schema", **_schema_form(job.answer_schema)}
    if "verbosity" in passed:  # a field of its own in the other API alone
        text["verbosity"] = passed.pop("verbosity")
    if text:
        body["text"] = text
    body["max_output_tokens"] = job.max_output_tokens
    body |= passed
    if job.effort is not None:
        body["reasoning"] = {**_reasoning(job), "effort": job.effort}
    body |= _cache_options(cache)
    body["input"] = [*messages, {"role": "user", "content": content}]
    return body


def _chat(job: JobDocument, texts: Sequence[str], cache: CachePlan | None) -> dict[str, Any]:
    content = [{"type": "text", "text": text} for text in texts]
    body: dict[str, Any] = {"model": job.model, "store": False}
    if job.answer_schema == ANY_OBJECT:
        body["response_format"] = {"type": "json_object"}
    elif job.answer_schema is not None:
        schema = _schema_form(job.answer_schema)
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    # `max_tokens` is deprecated, and refused by models that reason (SDK 3.54, 2026).
    body["max_completion_tokens"] = job.max_output_tokens
    body |= _passed_through(job)
    if job.effort is not None:
        body["reasoning_effort"] = job.effort
    body |= _cache_options(cache)
    messages: list[dict[str, Any]] = []
    instructions = _instructions(job)
    if instructions is not None and cache is not None and cache.breakpoint:
        messages.append({"role": "system", "content": [_kept("text", instructions)]})
    elif instructions is not None:
        messages.append({"role": "system", "content": instructions})
    body["messages"] = [*messages, {"role": "user", "content": content}]
    return body


def _instructions(job: JobDocument) -> str | None:
    """Return the job's instructions; `json_object` is refused where no text says "JSON" (2026)."""
    texts = [job.instructions or "", job.prompt]
    if job.answer_schema != ANY_OBJECT or any("json" in text.lower() for text in texts):
        return job.instructions
    return "\n\n".join(filter(None, [job.instructions, "Answer with a JSON object."]))


def _passed_through(job: JobDocument) -> dict[str, Any]:
    fields = {"temperature": job.temperature, "service_tier": job.service_tier}
    given = {name: value for name, value in fields.items() if value is not None}
    return {**job.extra_body, **given}


def _kept(kind: str, instructions: str) -> dict[str, Any]:
    """Return the instructions as the part of the prompt that the provider keeps."""
    return {"type": kind, "text": instructions, "prompt_cache_breakpoint": BREAKPOINT}


def _cache_options(cache: CachePlan | None) -> dict[str, Any]:
    return {"prompt_cache_options": cache.options} if cache is not None and cache.options else {}


def _reasoning(job: JobDocument) -> dict[str, Any]:
    """Return further options of reasoning, such as a summary."""
    found = job.extra_body.get("reasoning")
    return found if isinstance(found, dict) else {}


def _schema_form(schema: dict[str, Any]) -> dict[str, Any]:
    strict = strict_form(schema)
    return {"name": _SCHEMA_NAME, "schema": strict or schema, "strict": strict is not None}


def _picture(api: Api, detail: dict[str, str]) -> dict[str, Any]:
    """Return a picture of the request, its address still to be written."""
    if api is Api.RESPONSES:
        return {"type": "input_image", "image_url": "", **detail}
    return {"type": "image_url", "image_url": {"url": "", **detail}}


def _with_pictures(body: bytes, sources: Sequence[str | bytes], picture: dict[str, Any]) -> bytes:
    """Put the pictures behind the texts: the list of both ends the body.

    As bytes, copied once: JSON of them would be written, joined and encoded.
    """
    before, after = _encode(picture).split(b'""')
    pieces = [body.removesuffix(_CONTENT_END)]
    for source in sources:
        url = source if isinstance(source, bytes) else _encode(source)[1:-1]
        pieces += [b",", before, b'"', url, b'"', after]
    return b"".join((*pieces, _CONTENT_END))


def _encode(value: object) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except ValueError as error:  # NaN, or half a surrogate pair, in the schema
        raise InvalidJob(f"answer_schema: not plain JSON: {error}") from None


_REPAIR_INSTRUCTIONS: Final = (
    "An answer was to match a JSON Schema and does not. Return it in the form of the schema, as"
    " JSON and nothing else. Keep its content and its language. Add nothing that it does not say:"
    " what it does not say is null, or empty, wherever the schema admits that."
)


def repair_texts(job: JobDocument, faulty: InvalidAnswer) -> tuple[str, str]:
    """Return instructions and prompt of the question; shared parts come first."""
    schema = json.dumps(job.answer_schema, ensure_ascii=False)
    prompt = json.dumps(
        {"answer": faulty.text, "fault": faulty.validation_error}, ensure_ascii=False
    )
    return f"{_REPAIR_INSTRUCTIONS}\n\nThe schema:\n{schema}", prompt


def build_repair(
    job: JobDocument, faulty: InvalidAnswer, prompt_cache: PromptCache | None = None
) -> ProviderRequest:
    """Build the call that asks the job's model to repair its answer.

    Raises:
        InvalidJob: the job has no model or no limit, or its schema is none.
    """
    instructions, prompt = repair_texts(job, faulty)
    changes = {"instructions": instructions, "prompt": prompt, "images": ()}
    return build_request(job.model_copy(update=changes), (), (), prompt_cache)
