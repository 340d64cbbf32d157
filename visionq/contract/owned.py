"""Fields of the provider's request that `extra_body` may not set, and why."""

from __future__ import annotations

from typing import Final

_FORM: Final = "it would change the form of the answer"
_PRICE: Final = "the price in advance would not hold"

#: Of both surfaces (openai 3.54, 2026).
_OWNED: Final = {
    "model": "use the field `model` of the job",
    "input": "use `prompt` and `images`",
    "messages": "use `prompt`, `instructions` and `images`",
    "instructions": "use the field `instructions` of the job",
    "text": "use `answer_schema`",
    "response_format": "use `answer_schema`",
    "max_output_tokens": "use the field `max_output_tokens` of the job",
    "max_completion_tokens": "use `max_output_tokens`",
    "max_tokens": "use `max_output_tokens`",
    "temperature": "use the field `temperature` of the job",
    "service_tier": "use the field `service_tier` of the job",
    "store": "nothing is stored at the provider",
    "stream": _FORM,
    "stream_options": _FORM,
    "background": _FORM,
    "audio": _FORM,
    "modalities": _FORM,
    "tools": _FORM,
    "functions": _FORM,
    "n": _PRICE,
    "prompt": _PRICE,
    # Of a prediction the tokens that the model does not take up are billed beside the answer.
    "prediction": _PRICE,
    "conversation": _PRICE,
    "previous_response_id": _PRICE,
    "web_search_options": _PRICE,
}


def owned_field(name: str) -> str | None:
    """Return why a field is not for `extra_body`, or None where it is free."""
    return _OWNED.get(name)
