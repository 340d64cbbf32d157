"""Whether the provider takes the key, what is left on the account, and what proxies lead there.

Asked with the standard library, so that no model SDK is needed. Two reading calls, which cost
nothing (ProxyAPI's docs/proxyapi-balance; `GET /models` is OpenAI's). Without a key nothing is sent
beyond this machine.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from visionq.cli.doctor.findings import (
    Finding,
    is_local,
    not_known,
    ok,
    problem,
    public_address,
    warning,
)
from visionq.http_checks import prepare_http_environment, proxy_variables
from visionq.pricing.model_list import merge_lists, parse_model_list
from visionq.pricing.money import read_rubles
from visionq.providers import ProviderProfile, find_field, load_profile
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionq.pricing.model_list import ListedModels
    from visionq.settings import Settings

#: Seconds for one answer.
_PATIENCE: Final = 10.0
#: Seconds, where a command would rather go on without.
_BRIEF: Final = 2.0
#: Bytes. No list of models is longer.
_LONGEST: Final = 8_000_000
#: Rubles. ProxyAPI wants the whole answer that a call may give to be covered before it runs.
_LOW_BALANCE: Final = Decimal(100)
#: A provider on this machine asks for no key, and nobody else hears this one.
_NO_KEY: Final = "none"


@dataclass(frozen=True, slots=True)
class Provider:
    """Whom the workers ask, and with which key."""

    base_url: str
    key: str | None
    #: The simulator of a local stack.
    simulated: bool = False
    profile: ProviderProfile = field(default_factory=load_profile)


def provider_at(url: str, settings: Settings, *, simulated: bool) -> Provider:
    """Return the provider at an address; a simulator gets no key."""
    if simulated:
        return Provider(url, None, simulated=True)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return Provider(url, key, profile=load_profile(settings.provider))


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking the provider."""

    #: About the key and the balance.
    findings: list[Finding]
    #: None where it gave no list of models.
    listed: ListedModels | None = None


def ask_provider(provider: Provider) -> Asked:
    """Look at the key and the balance, and get the list of models."""
    check = "provider.key"
    address = public_address(provider.base_url)
    if not _may_be_asked(provider):
        without = warning(
            check,
            "no key here (PROXYAPI_API_KEY), so nothing was sent to the provider",
            "workers need one; set it where they run. Without one, `visionq up` simulates",
            present=False,
        )
        return Asked([without])
    try:
        models = _get(_models_url(provider), provider)
    except (OSError, HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        unreachable = problem(
            check,
            f"{address} can't be reached: {reason}",
            "look at the network, the proxy of the environment and PROXYAPI_BASE_URL",
        )
        return Asked([unreachable])
    key = _key(models, provider, address)
    if models.status != HTTPStatus.OK:
        return Asked([key])
    listed = merge_lists([parse_model_list(models.body), _routed_models(provider, _PATIENCE)])
    return Asked([key, _balance(provider)], listed)


def get_model_list(provider: Provider) -> ListedModels | None:
    """Return the provider's list of models if it comes at once; a free reading call."""
    if not _may_be_asked(provider):
        return None
    with suppress(OSError, HTTPException):
        reply = _get(_models_url(provider), provider, patience=_BRIEF)
        if reply.status == HTTPStatus.OK:
            return merge_lists([parse_model_list(reply.body), _routed_models(provider, _BRIEF)])
    return None


def _routed_models(provider: Provider, patience: float) -> ListedModels | None:
    """Return what is listed at the provider's other addresses; none of them need answer."""
    _, *others = provider.profile.addresses(provider.base_url)
    lists = []
    for address in others:
        with suppress(OSError, HTTPException):
            reply = _get(f"{address.rstrip('/')}/models", provider, patience=patience)
            lists.append(parse_model_list(reply.body) if reply.status == HTTPStatus.OK else None)
    return merge_lists(lists)


def _may_be_asked(provider: Provider) -> bool:
    return provider.key is not None or is_local(provider.base_url)


def _models_url(provider: Provider) -> str:
    return f"{provider.base_url.rstrip('/')}/models"


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    #: JSON, or None for anything else.
    body: Any


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would take the key to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _get(url: str, provider: Provider, patience: float = _PATIENCE) -> _Reply:
    """Raises `OSError` or `HTTPException` when there is no answer."""
    key = (provider.key or _NO_KEY).strip()
    scheme = provider.profile.authorization
    request = Request(url, headers={"Authorization": f"{scheme} {key}"})  # noqa: S310  # http(s), see above
    # A proxy of the environment may lead to the provider, never to this machine.
    proxies = ProxyHandler({}) if is_local(url) else ProxyHandler()
    try:
        with build_opener(proxies, _NoRedirect).open(request, timeout=patience) as response:
            return _Reply(response.status, _json(response.read(_LONGEST)))
    except HTTPError as error:
        with error:
            return _Reply(error.code, _json(error.read(_LONGEST)))


def _json(content: bytes) -> Any:  # noqa: ANN401  # any JSON value
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


def read_balance(provider: Provider) -> Decimal | None:
    """Return the balance in rubles, if the key may read it; a free reading call."""
    terms = provider.profile.balance
    if terms is None or not _may_be_asked(provider):
        return None
    parts = urlsplit(provider.base_url)
    try:
        reply = _get(parts._replace(path=terms.path, query="").geturl(), provider)
        told = find_field(reply.body, terms.field) if reply.status == HTTPStatus.OK else None
        return read_rubles(told)
    except (OSError, HTTPException):
        return None


def _balance(provider: Provider) -> Finding:
    check, balance = "provider.balance", read_balance(provider)
    if provider.profile.balance is None:
        said = f"how {provider.profile.name} tells the balance is not known"
        return not_known(check, said, "look at it in the seller's console; work goes on without")
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


_CHECK: Final = "environment.proxies"


def environment_findings(environ: Mapping[str, str], provider_url: str) -> list[Finding]:
    """Report the proxies in front of the provider, or the unusable variable.

    A provider on this machine, such as the simulator, is called through none.
    """
    read = dict(environ)
    try:
        prepare_http_environment(read)
    except ConfigurationError as error:
        advice = "correct or unset it where workers run; they do not start with it"
        return [problem(_CHECK, error.message, advice)]
    found = [f"{name} ({_shown(read[name])})" for name in proxy_variables(read)]
    if not found or is_local(provider_url):
        return []
    return [ok(_CHECK, f"the provider is called through the proxy of {', '.join(found)}")]


def _shown(proxy: str) -> str:
    return public_address(proxy if "://" in proxy else f"http://{proxy}")
