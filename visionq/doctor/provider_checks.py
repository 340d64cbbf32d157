"""Whether the provider takes the key, and what is left on the account.

Asked with the standard library, so that no model SDK is needed. Two reading calls, which cost
nothing (ProxyAPI's docs/proxyapi-balance; `GET /models` is OpenAI's). Without a key nothing is sent
beyond this machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from visionq.doctor.addresses import is_local, public_address
from visionq.doctor.findings import Finding, not_known, ok, problem, warning
from visionq.money import read_rubles

#: Seconds for one answer.
_PATIENCE: Final = 10.0
#: Bytes. No list of models is longer.
_LONGEST: Final = 8_000_000
#: Rubles. ProxyAPI wants the whole answer that a call may give to be covered before it runs.
_LOW_BALANCE: Final = Decimal(100)
#: A provider on this machine asks for no key, and nobody else hears this one.
_NO_KEY: Final = "none"
_BALANCE_PATH: Final = "/proxyapi/balance"


@dataclass(frozen=True, slots=True)
class Provider:
    """Whom the workers ask, and with which key."""

    base_url: str
    key: str | None
    #: The stand-in of a local stack.
    simulated: bool = False


def provider_findings(provider: Provider, model: str) -> list[Finding]:
    """Return what is to be said about the key, the model and the balance."""
    check = "provider.key"
    address = public_address(provider.base_url)
    if provider.key is None and not is_local(provider.base_url):
        return [
            warning(
                check,
                "no key here (PROXYAPI_API_KEY), so nothing was sent to the provider",
                "workers need one; set it where they run. Without one, `visionq up` simulates",
                present=False,
            )
        ]
    try:
        models = _get(f"{provider.base_url.rstrip('/')}/models", provider)
    except (OSError, HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        return [
            problem(
                check,
                f"{address} can't be reached: {reason}",
                "look at the network, the proxy of the environment and PROXYAPI_BASE_URL",
            )
        ]
    found = [_key(models, provider, address)]
    if models.status == HTTPStatus.OK:
        found += [*_model(models, model), _balance(provider)]
    return found


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    #: JSON, or None for anything else.
    body: Any


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would take the key to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _get(url: str, provider: Provider) -> _Reply:
    """Raises `OSError` or `HTTPException` when there is no answer."""
    key = (provider.key or _NO_KEY).strip()
    request = Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310  # http(s), see above
    # A proxy of the environment may lead to the provider, never to this machine.
    proxies = ProxyHandler({}) if is_local(url) else ProxyHandler()
    try:
        with build_opener(proxies, _NoRedirect).open(request, timeout=_PATIENCE) as response:
            return _Reply(response.status, _json(response.read(_LONGEST)))
    except HTTPError as error:
        with error:
            return _Reply(error.code, _json(error.read(_LONGEST)))


def _json(content: bytes) -> Any:  # noqa: ANN401  # whatever JSON can say
    try:
        return json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None


#: Status → what it means for the key, and what to do.
_REFUSALS: Final = {
    HTTPStatus.UNAUTHORIZED: (
        "the key is not accepted",
        "put a living key of https://console.proxyapi.ru into PROXYAPI_API_KEY",
    ),
    HTTPStatus.PAYMENT_REQUIRED: ("the balance is used up", "top it up"),
    HTTPStatus.FORBIDDEN: (
        "the key may not list models",
        "look at the key's permissions and allowed addresses in the console",
    ),
    HTTPStatus.NOT_FOUND: ("no list of models is there", "PROXYAPI_BASE_URL ends in /openai/v1"),
}


def _key(reply: _Reply, provider: Provider, address: str) -> Finding:
    check = "provider.key"
    if reply.status == HTTPStatus.OK:
        return _accepted(provider, address)
    for status, (meaning, advice) in _REFUSALS.items():
        if reply.status == status:
            message = f"{address}: {meaning}{_said(reply)}"
            return problem(check, message, advice, status=reply.status)
    message = f"{address} answered {reply.status}{_said(reply)}"
    return not_known(check, message, "try again in a minute")


def _accepted(provider: Provider, address: str) -> Finding:
    check = "provider.key"
    if provider.simulated:
        return ok(check, f"the simulator answers at {address}; no key is needed", present=False)
    if provider.key is None:
        return ok(check, f"{address} on this machine answers without a key", present=False)
    if urlsplit(provider.base_url).scheme == "http" and not is_local(provider.base_url):
        return warning(
            check,
            f"{address} accepts the key, which goes there unencrypted",
            "use an https:// address in PROXYAPI_BASE_URL",
            present=True,
        )
    return ok(check, f"{address} accepts the key", present=True)


def _said(reply: _Reply) -> str:
    """Return the provider's own words, shortened: `{"detail": …}` or OpenAI's error object."""
    body = reply.body if isinstance(reply.body, dict) else {}
    error = body.get("error")
    words = body.get("detail") or (error.get("message") if isinstance(error, dict) else error)
    return f": {str(words)[:200]}" if words else ""


def _model(reply: _Reply, model: str) -> list[Finding]:
    rows = reply.body.get("data") if isinstance(reply.body, dict) else None
    listed = {row.get("id") for row in rows or () if isinstance(row, dict)}
    if not listed:
        return []
    check, names = "provider.model", {model, model.removeprefix("openai/")}
    if names & listed:
        return [ok(check, f"the provider lists {model}", model=model)]
    advice = "choose one that it lists in VISIONQ_DEFAULT_MODEL"
    return [warning(check, f"the provider does not list {model}", advice, model=model)]


def read_balance(provider: Provider) -> Decimal | None:
    """Return the rubles on the account, where the key may read them; a reading call, free."""
    if provider.key is None and not is_local(provider.base_url):
        return None
    parts = urlsplit(provider.base_url)
    try:
        reply = _get(parts._replace(path=_BALANCE_PATH, query="").geturl(), provider)
        return read_rubles(reply.body["balance"]) if reply.status == HTTPStatus.OK else None
    except (OSError, HTTPException, KeyError, TypeError):
        return None


def _balance(provider: Provider) -> Finding:
    check, balance = "provider.balance", read_balance(provider)
    if balance is None:
        return not_known(
            check,
            "the balance can't be read",
            "allow it for the key in the console of ProxyAPI («Запрос баланса»), if you want to see"
            " it here; work goes on without",
        )
    shown = format(balance, "f")
    advice = "top it up: when it is used up, jobs park until it is filled again"
    if balance <= 0:
        return problem(check, f"{shown} ₽: no call can be made", advice, balance_rub=shown)
    if balance < _LOW_BALANCE:
        return warning(check, f"{shown} ₽ left", advice, balance_rub=shown)
    return ok(check, f"{shown} ₽", balance_rub=shown)
