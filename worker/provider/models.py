"""Which models the provider lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx2
import openai
from pydantic_core import from_json

from visionq.pricing.model_list import parse_model_list

if TYPE_CHECKING:
    from openai import OpenAI

    from visionq.pricing.model_list import ModelList

#: Seconds.
_PATIENCE: Final = 10.0
_MOST_BYTES: Final = 5_000_000


def read_models(client: OpenAI) -> ModelList | None:
    """Return the provider's list, or None where it can't be had."""
    try:
        response = client.get("/models", cast_to=httpx2.Response, options={"timeout": _PATIENCE})
        if len(response.content) > _MOST_BYTES:
            return None
        return parse_model_list(from_json(response.content))
    except (openai.OpenAIError, httpx2.HTTPError, ValueError):
        return None
