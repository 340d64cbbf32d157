"""What is left on the account, where the key may ask for it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import httpx2
import openai

from visionq.money import read_rubles

if TYPE_CHECKING:
    from openai import OpenAI

#: Outside the OpenAI paths (ProxyAPI docs/proxyapi-balance, 2026).
_PATH: Final = "/proxyapi/balance"
#: Seconds.
_PATIENCE: Final = 10.0


def read_balance(client: OpenAI) -> Decimal | None:
    """Return rubles, or None where they are not to be known: most keys may not ask.

    A key with a budget of its own is told what is left of that. A failure says nothing about the
    balance, so it is never taken for zero.
    """
    base = urlsplit(str(client.base_url))
    url = urlunsplit((base.scheme, base.netloc, _PATH, "", ""))
    try:
        response = client.get(url, cast_to=httpx2.Response, options={"timeout": _PATIENCE})
        # Not through floats: rubles are decimals from the first digit.
        body = json.loads(response.content, parse_float=Decimal, parse_int=Decimal)
        return read_rubles(body["balance"])
    except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, KeyError, RecursionError):
        return None
