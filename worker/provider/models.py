"""Which models the provider lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx2
import openai
from pydantic_core import from_json

from visionq.pricing.model_list import merge_lists, parse_model_list

if TYPE_CHECKING:
    from openai import OpenAI

    from visionq.pricing.model_list import ModelList
    from visionq.providers import ProviderProfile

#: Seconds.
_PATIENCE: Final = 10.0
_MOST_BYTES: Final = 5_000_000


def read_models(client: OpenAI, profile: ProviderProfile) -> ModelList | None:
    """Return what the provider lists at all its addresses, or None where it can't be had."""
    addresses = profile.addresses(str(client.base_url))
    return merge_lists(_read(client, address) for address in addresses)


def _read(client: OpenAI, address: str) -> ModelList | None:
    url = f"{address.rstrip('/')}/models"
    try:
        response = client.get(url, cast_to=httpx2.Response, options={"timeout": _PATIENCE})
        if len(response.content) > _MOST_BYTES:
            return None
        return parse_model_list(from_json(response.content))
    except (openai.OpenAIError, httpx2.HTTPError, ValueError):
        return None
