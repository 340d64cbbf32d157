"""Parameter names of each API (SDK `openai` 3.54.0, and OpenAI's reference)."""

from __future__ import annotations

from typing import Final

_BOTH: Final = frozenset(
    {
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    }
)

RESPONSES: Final = _BOTH | {
    "access_programs",
    "background",
    "background_options",
    "context_management",
    "conversation",
    "image",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "prompt",
    "reasoning",
    "text",
    "truncation",
}

CHAT_COMPLETIONS: Final = _BOTH | {
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "modalities",
    "n",
    "prediction",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "verbosity",
    "web_search_options",
}

#: Parameters that would change the form of the answer, with the values that leave it as it is.
#: The simulator says so instead of answering in another form than was asked for.
UNSUPPORTED: Final[dict[str, tuple[object, ...]]] = {
    "stream": (None, False),
    "background": (None, False),
    "n": (None, 1),
    "previous_response_id": (None,),
    "conversation": (None,),
    "prompt": (None,),
}
