"""One call: sent once, read to its end, and told apart.

Errors say how far the call came: one that never left is free, one that left and brought nothing
readable may have been billed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import httpx2
import openai

from visionq.errors import BillingUnknown, ProviderUnavailable, VisionqError
from worker.provider.answer import read_answer
from worker.provider.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.provider.answer import ProviderAnswer
    from worker.provider.request import ProviderRequest

#: Ends of a call that never left this machine whole (httpx2 2.16). `WriteError` is none of them:
#: the library swallows it and tells what the reading of the answer then came to.
_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)


def ask(
    client: openai.OpenAI,
    request: ProviderRequest,
    *,
    clock: Callable[[], float] = time.time,
    heard: Callable[[Reply], None] = lambda _: None,
) -> ProviderAnswer:
    """Send the request once and return the answer; `heard` gets any reply.

    Raises:
        ProviderUnavailable: the provider was not reached, or said that it can't; nothing billed.
        BillingUnknown: the request was sent and no readable answer came.
        AnswerError: there is a paid answer, but not a usable one.
        VisionqError: what `worker.provider.faults` makes of the provider's own error.
    """
    reply = _send(client, request)
    heard(reply)
    return read_answer(reply, request, now=clock())


def _send(client: openai.OpenAI, request: ProviderRequest) -> Reply:
    address = request.profile.address_for(request.model, str(client.base_url)).rstrip("/")
    try:
        # Ready bytes: the typed methods walk and rebuild the body, at three times the cost.
        response = client.post(
            address + request.path, cast_to=httpx2.Response, content=request.body
        )
    except openai.APIStatusError as error:
        response = error.response
    except openai.APIConnectionError as error:
        raise _cut_off(error.__cause__ or error) from error
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content)


def _cut_off(cause: BaseException) -> VisionqError:
    what = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
    if isinstance(cause, _NOT_SENT):
        return ProviderUnavailable(f"the provider was not reached ({what})")
    if isinstance(cause, httpx2.TimeoutException):
        return BillingUnknown(f"no answer in time ({what})")
    return BillingUnknown(f"the connection broke before the whole answer came ({what})")
