"""Read a reply: tell answers from refusals, cut-off and empty ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import Api, Usage
from visionq.errors import BillingUnknown, Incomplete, InvalidOutput, Refused
from visionq.sureness import logprob_sureness
from worker.provider.checked_usage import is_charged, read_usage
from worker.provider.picture_checks import open_answer
from worker.provider.refusal_rules import fault
from worker.provider.reply import public
from worker.provider.schema import Mismatch, parse_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from worker.provider.reply import Reply
    from worker.provider.request import ProviderRequest

_OK: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """The model's answer, which was paid for."""

    text: str = field(repr=False)
    #: What the model declined to say, beside what it said.
    refusal: str | None = None
    #: `None`: the provider did not say; the call is then settled at its forecast, as an estimate.
    usage: Usage | None = None
    request_id: str | None = None
    #: The parsed answer, where the job asked for a schema.
    data: Any = field(default=None, repr=False)
    #: What is wrong with the answer, where it is not of the form that the job asked for.
    validation_error: str | None = None
    #: Whether asking the model for a repair may help.
    is_repairable: bool = True
    #: What the model found in each picture, where it was asked; None: it did not report.
    findings: tuple[frozenset[str], ...] | None = None
    #: `status` of Responses, `finish_reason` of Chat Completions, as they came.
    finish: str | None = None
    #: The mean probability of its tokens, where the request asked for it and the API tells it.
    sureness: float | None = None


class _End(Enum):
    """The reason why the model stopped."""

    WHOLE = auto()
    CUT = auto()
    FILTERED = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class _Draft:
    """An answer of either API, in one form."""

    end: _End
    finish: str | None
    #: Why it ended so, for people.
    cause: str
    text: str
    refusal: str
    usage: Usage | None
    #: Of the tokens of the text, where the API tells them.
    logprobs: tuple[float, ...] = ()


def read_answer(reply: Reply, request: ProviderRequest, *, now: float) -> ProviderAnswer:
    """Return the answer; `now` is seconds since the epoch.

    Raises:
        Refused: the model or its filter declined; with `usage`, and `text` where it said why.
        Incomplete: cut off, or failed after it was counted; with `usage` and the `text` so far.
        InvalidOutput: empty; with `usage`.
        BillingUnknown: no answer is in the reply, and nothing says that none was paid.
        VisionqError: what the table of faults says of the provider's error.
    """
    body = reply.json
    if not isinstance(body, dict):
        raise fault(reply, request, now=now)
    usage = read_usage(body, request.api, request.expected)
    # What has a price was paid for, even if no tokens are reported.
    paid = usage or (Usage() if is_charged(body, request.profile.cost) else None)
    if reply.status not in _OK:
        raise fault(reply, request, now=now, usage=paid)
    read = _responses if request.api is Api.RESPONSES else _chat
    draft = read(body, usage)
    if draft.end is _End.FAILED or body.get("error") or body.get("detail"):
        raise fault(reply, request, now=now, usage=draft.usage or paid, text=draft.text)
    return _judge(draft, request, reply.request_id, is_paid=paid is not None)


def _judge(
    draft: _Draft, request: ProviderRequest, request_id: str | None, *, is_paid: bool
) -> ProviderAnswer:
    paid: dict[str, Any] = {"usage": draft.usage, "request_id": request_id}
    text_so_far = draft.text or draft.refusal or None
    if draft.end is _End.FILTERED:
        raise Refused(f"stopped by the content filter ({draft.cause})", text=text_so_far, **paid)
    if draft.end is _End.CUT:
        raise Incomplete(_describe_cut(draft, request), text=text_so_far, **paid)
    asked_for_form = request.answer_schema is not None or bool(request.asked)
    if draft.refusal and (asked_for_form or not draft.text):
        raise Refused(f"the model declined: {public(draft.refusal)}", text=text_so_far, **paid)
    if not draft.text:
        if not is_paid:
            message = "the provider answered 200 with neither text nor usage in it"
            raise BillingUnknown(message, request_id=request_id)
        raise InvalidOutput(f"the answer is empty ({draft.cause})", **paid)
    findings = None
    if request.asked:
        opened = open_answer(draft.text, request.asked, len(request.images), request.answer_schema)
        draft, findings = replace(draft, text=opened.text), opened.findings
    data, validation_error, is_repairable = None, None, True
    if request.answer_schema is not None:
        try:
            data = parse_answer(draft.text, request.answer_schema)
        except Mismatch as error:
            validation_error, is_repairable = str(error), error.is_repairable
    return ProviderAnswer(
        text=draft.text,
        refusal=draft.refusal or None,
        data=data,
        validation_error=validation_error,
        is_repairable=is_repairable,
        findings=findings,
        finish=draft.finish,
        sureness=logprob_sureness(draft.logprobs),
        **paid,
    )


def _describe_cut(draft: _Draft, request: ProviderRequest) -> str:
    """Return why the answer was cut off, with advice about reasoning."""
    usage, cause = draft.usage, f"the answer was cut off ({draft.cause})"
    if usage is None or usage.reasoning_tokens * 2 < max(1, usage.output_tokens):
        return cause
    limit = f" of {request.max_output_tokens:,}" if request.max_output_tokens else ""
    effort = f" at the effort {request.effort}" if request.effort else ""
    return (
        f"{cause}: reasoning{effort} took {usage.reasoning_tokens:,} tokens{limit}; set a lower"
        " effort (--effort none where the model takes it), or a larger limit (--max-output-tokens)"
    )


def _responses(body: dict[str, Any], usage: Usage | None) -> _Draft:
    """Read the Responses form (`status`, `output`; openai 3.54)."""
    status = _text(body.get("status"))
    cause = _text(_dict(body.get("incomplete_details")).get("reason")) or status
    if status == "incomplete":
        end = _End.FILTERED if cause == "content_filter" else _End.CUT
    else:
        # A gateway may leave the status out. `queued`, `in_progress`, `cancelled`: not the
        # answer that was asked for, though it may cost as much.
        end = _End.WHOLE if status in {"completed", ""} else _End.FAILED
    parts = [part for item in _dicts(body.get("output")) for part in _dicts(item.get("content"))]
    return _Draft(
        end=end,
        finish=status or None,
        cause=cause or "no status",
        text=_joined(parts, "output_text", "text"),
        refusal=_joined(parts, "refusal", "refusal"),
        usage=usage,
        logprobs=_logprobs(one for part in parts for one in _dicts(part.get("logprobs"))),
    )


def _chat(body: dict[str, Any], usage: Usage | None) -> _Draft:
    """Read the Chat Completions form (`choices`; openai 3.54)."""
    choice = next(_dicts(body.get("choices")), {})
    message = _dict(choice.get("message"))
    finish = _text(choice.get("finish_reason"))
    ends = {"length": _End.CUT, "content_filter": _End.FILTERED}
    content = message.get("content")
    text = _text(content) or _joined(list(_dicts(content)), "text", "text")
    return _Draft(
        end=ends.get(finish, _End.WHOLE),
        finish=finish or None,
        cause=finish or "no finish_reason",
        text=text,
        refusal=_text(message.get("refusal")),
        usage=usage,
        logprobs=_logprobs(_dicts(_dict(choice.get("logprobs")).get("content"))),
    )


def _logprobs(tokens: Iterable[dict[str, Any]]) -> tuple[float, ...]:
    """Return the probabilities, as logarithms, that the API gives with the tokens."""
    found = (token.get("logprob") for token in tokens)
    return tuple(float(one) for one in found if isinstance(one, int | float))


def _joined(parts: list[dict[str, Any]], kind: str, name: str) -> str:
    return "".join(_text(part.get(name)) for part in parts if part.get("type") == kind)


def _text(value: object) -> str:
    """Return the text as valid UTF-8; empty for blank or no text."""
    if not isinstance(value, str) or not value.strip():
        return ""
    # A cut answer may end in half a surrogate pair.
    return value.encode("utf-8", "replace").decode()


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    items = value if isinstance(value, list) else []
    return (item for item in items if isinstance(item, dict))
