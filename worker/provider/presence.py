"""Whether the provider speaks at all, asked for nothing that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx2
import openai

from worker.provider.reason import Where, read_reason
from worker.provider.reply import Reply

if TYPE_CHECKING:
    from openai import OpenAI

#: The list of models is free (OpenAI's API reference, 2026).
_PATH: Final = "/models"
#: Seconds.
_PATIENCE: Final = 10.0


def answers(client: OpenAI) -> bool:
    """Return whether a word of the provider's own comes: a list of models, or a refusal."""
    try:
        response = client.get(_PATH, cast_to=httpx2.Response, options={"timeout": _PATIENCE})
    except openai.APIStatusError as error:
        response = error.response
    except (openai.OpenAIError, httpx2.HTTPError):
        return False
    reply = Reply(response.status_code, {}, response.content)
    if response.is_success:
        return isinstance(reply.json, dict)
    return read_reason(reply).where is not Where.NOWHERE
