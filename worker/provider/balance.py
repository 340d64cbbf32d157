"""What is left on the account, where the key may ask for it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import httpx2
import openai

from visionq.pricing.money import read_rubles
from visionq.providers import find_field

if TYPE_CHECKING:
    from openai import OpenAI

    from visionq.providers import BalanceTerms

#: Seconds.
_PATIENCE: Final = 10.0


def read_balance(client: OpenAI, terms: BalanceTerms | None) -> Decimal | None:
    """Return rubles, or None where they are not to be known: most keys may not ask.

    A key with a budget of its own is told what is left of that. A failure says nothing about the
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
