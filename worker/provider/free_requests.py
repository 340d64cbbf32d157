"""Free requests to the provider: balance, list of models, availability."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import httpx2
import openai
from pydantic_core import from_json

from visionq.pricing.model_list import merge_lists, parse_model_list
from visionq.pricing.money import read_rubles
from visionq.providers import find_field
from worker.provider.reply import Reply, Where, read_reason

if TYPE_CHECKING:
    from openai import OpenAI

    from visionq.pricing.model_list import ListedModels
    from visionq.providers import BalanceTerms, ProviderProfile

#: Seconds.
_PATIENCE: Final = 10.0


def read_balance(client: OpenAI, terms: BalanceTerms | None) -> Decimal | None:
    """Return rubles, or None if the key may not ask, as most.

    A key with a budget of its own gets what is left of that. A failure says nothing about the
    balance, so it is never taken for zero.
    """
    if terms is None:
        return None
    base = urlsplit(str(client.base_url))
    url = urlunsplit((base.scheme, base.netloc, terms.path, "", ""))
    try:
        response = client.get(url, cast_to=httpx2.Response, options={"timeout": _PATIENCE})
        # Not through floats: rubles are decimals from the first digit.
        body = json.loads(response.content, parse_float=Decimal, parse_int=Decimal)
        return read_rubles(find_field(body, terms.field))
    except (openai.OpenAIError, httpx2.HTTPError, ValueError, RecursionError):
        return None


_LONGEST_LIST: Final = 5_000_000


def read_models(client: OpenAI, profile: ProviderProfile) -> ListedModels | None:
    """Return the models listed at all addresses of the provider, or None on failure."""
    addresses = profile.addresses(str(client.base_url))
    return merge_lists(_read(client, address) for address in addresses)


def _read(client: OpenAI, address: str) -> ListedModels | None:
    url = f"{address.rstrip('/')}/models"
    try:
        response = client.get(url, cast_to=httpx2.Response, options={"timeout": _PATIENCE})
        if len(response.content) > _LONGEST_LIST:
            return None
        return parse_model_list(from_json(response.content))
    except (openai.OpenAIError, httpx2.HTTPError, ValueError):
        return None


#: The list of models is free (OpenAI's API reference, 2026).
_MODELS_PATH: Final = "/models"


def answers(client: OpenAI) -> bool:
    """Return whether the provider itself answers: with a list of models, or a refusal."""
    try:
        response = client.get(_MODELS_PATH, cast_to=httpx2.Response, options={"timeout": _PATIENCE})
    except openai.APIStatusError as error:
        response = error.response
    except (openai.OpenAIError, httpx2.HTTPError):
        return False
    reply = Reply(response.status_code, {}, response.content)
    if response.is_success:
        return isinstance(reply.json, dict)
    return read_reason(reply).where is not Where.NOWHERE
