"""Which models the provider lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx2
import openai
from pydantic_core import from_json

if TYPE_CHECKING:
    from openai import OpenAI

#: Seconds.
_PATIENCE: Final = 10.0
_MOST_BYTES: Final = 5_000_000


def read_models(client: OpenAI) -> list[object]:
    """Return what stands in the place of their names; nothing where the list can't be had."""
    try:
        response = client.get("/models", cast_to=httpx2.Response, options={"timeout": _PATIENCE})
        if len(response.content) > _MOST_BYTES:
            return []
        body: Any = from_json(response.content)
        return [model["id"] for model in body["data"]]
    except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, KeyError):
        return []
