"""Free requests to the provider from commands: its list of models, and the balance.

By the standard library, so that no model SDK is needed. Two reading calls, which cost nothing
(ProxyAPI's docs/proxyapi-balance; `GET /models` is OpenAI's). Without a key nothing is sent beyond
this machine.
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

from visionq.cli.record import read_record
from visionq.http_checks import is_local
from visionq.pricing.model_list import merge_lists, parse_model_list
from visionq.pricing.money import read_rubles
from visionq.providers import ProviderProfile, find_field, load_profile

if TYPE_CHECKING:
    from visionq.pricing.model_list import ListedModels
    from visionq.settings import Settings

#: Seconds for one answer.
_PATIENCE: Final = 10.0
#: Seconds, where a command would rather go on without.
_BRIEF: Final = 2.0
#: Bytes. No list of models is longer.
_LONGEST: Final = 8_000_000
#: A provider on this machine asks for no key, and nobody else hears this one.
_NO_KEY: Final = "none"


@dataclass(frozen=True, slots=True)
class Provider:
    """The provider of the workers, and their key."""

    base_url: str
    key: str | None
    #: The simulator of a local stack.
    simulated: bool = False
    profile: ProviderProfile = field(default_factory=load_profile)

    @property
    def may_be_asked(self) -> bool:
        """Whether a request to it tells nobody else anything."""
        return self.key is not None or is_local(self.base_url)


def provider_at(url: str, settings: Settings, *, simulated: bool) -> Provider:
    """Return the provider at an address; a simulator gets no key."""
    if simulated:
        return Provider(url, None, simulated=True)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return Provider(url, key, profile=load_profile(settings.provider))


def find_provider(settings: Settings) -> Provider:
    """Return the provider that the environment names, else that of the stack that runs here."""
    record = None if settings.redis_url else read_record()
    if record is None:
        return provider_at(settings.base_url, settings, simulated=False)
    simulated = record.simulator_url is not None
    return provider_at(record.provider_url, settings, simulated=simulated)


def get_model_list(provider: Provider) -> ListedModels | None:
    """Return the provider's list of models if it comes at once."""
    if not provider.may_be_asked:
        return None
    with suppress(OSError, HTTPException):
        return list_models(provider, _BRIEF)[1]
    return None


def list_models(
    provider: Provider, patience: float = _PATIENCE
) -> tuple[ProviderReply, ListedModels | None]:
    """Return the provider's reply, and the models listed by all its addresses.

    Raises `OSError` or `HTTPException` when the first gives no answer; of the others none need.
    """
    base_url, *others = provider.profile.addresses(provider.base_url)
    reply = _get_models(base_url, provider, patience)
    lists = [reply.model_list]
    for address in others if reply.status == HTTPStatus.OK else ():
        with suppress(OSError, HTTPException):
            lists.append(_get_models(address, provider, patience).model_list)
    return reply, merge_lists(lists)


def read_balance(provider: Provider) -> Decimal | None:
    """Return the balance in rubles, if the key may read it."""
    terms = provider.profile.balance
    if terms is None or not provider.may_be_asked:
        return None
    url = urlsplit(provider.base_url)._replace(path=terms.path, query="").geturl()
    with suppress(OSError, HTTPException):
        reply = _get(url, provider, _PATIENCE)
        if reply.status == HTTPStatus.OK:
            return read_rubles(find_field(reply.body, terms.field))
    return None


@dataclass(frozen=True, slots=True)
class ProviderReply:
    """The provider's reply to a free request."""

    status: int
    #: JSON, or None for anything else.
    body: Any

    @property
    def model_list(self) -> ListedModels | None:
        """Its list of models, if it is one."""
        return parse_model_list(self.body) if self.status == HTTPStatus.OK else None


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would take the key to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _get_models(address: str, provider: Provider, patience: float) -> ProviderReply:
    return _get(f"{address.rstrip('/')}/models", provider, patience)


def _get(url: str, provider: Provider, patience: float) -> ProviderReply:
    """Raises `OSError` or `HTTPException` when there is no answer."""
    key = (provider.key or _NO_KEY).strip()
    scheme = provider.profile.authorization
    request = Request(url, headers={"Authorization": f"{scheme} {key}"})  # noqa: S310  # http(s), see above
    # A proxy of the environment may lead to the provider, never to this machine.
    proxies = ProxyHandler({}) if is_local(url) else ProxyHandler()
    try:
        with build_opener(proxies, _NoRedirect).open(request, timeout=patience) as response:
            return ProviderReply(response.status, _json(response.read(_LONGEST)))
    except HTTPError as error:
        with error:
            return ProviderReply(error.code, _json(error.read(_LONGEST)))


def _json(content: bytes) -> Any:  # noqa: ANN401  # any JSON value
    try:
        return json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
