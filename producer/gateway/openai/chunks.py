"""A completion as the chunks of its stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.gateway.openai.chat import ChatCompletion

Chunk = dict[str, Any]


def chunks_of(completion: ChatCompletion, *, with_usage: bool) -> Iterator[Chunk]:
    """Yield the chunks: the role, what the model says, why it ends, and the usage if wanted."""
    whole = completion.model_dump(mode="json")
    usage, own = whole.pop("usage", None), whole.pop("visionq")
    (choice,) = whole.pop("choices")
    message = choice["message"]
    head = {**whole, "object": "chat.completion.chunk"}
    if with_usage:
        head["usage"] = None
    yield _chunk(head, {"role": message["role"], "content": "", "refusal": None})
    yield from (_chunk(head, delta) for delta in _deltas(message))
    yield {**_chunk(head, {}, choice["finish_reason"]), "visionq": own}
    if with_usage and usage:
        yield {**head, "choices": [], "usage": usage}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for field in ("content", "refusal"):
        if message[field]:
            yield {field: message[field]}
    calls = message.get("tool_calls") or []
    if calls:
        yield {"tool_calls": [{"index": place, **call} for place, call in enumerate(calls)]}


def _chunk(head: Chunk, delta: dict[str, Any], finish_reason: str | None = None) -> Chunk:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**head, "choices": [choice]}
