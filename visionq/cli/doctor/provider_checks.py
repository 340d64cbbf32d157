"""Check the provider's key and balance, and proxies in the environment."""

from __future__ import annotations

from decimal import Decimal
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Final

from visionq.cli.doctor.findings import Finding, not_known, ok, problem, warning
from visionq.cli.provider_account import list_models, read_balance
from visionq.errors import ConfigurationError
from visionq.http_checks import (
    is_local,
    prepare_http_environment,
    proxy_variables,
    public_address,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionq.cli.provider_account import Provider, ProviderReply
    from visionq.pricing.model_list import ListedModels

#: Rubles. ProxyAPI wants the whole answer that a call may give to be covered before it runs.
_LOW_BALANCE: Final = Decimal(100)
_KEY: Final = "provider.key"


def ask_provider(provider: Provider) -> tuple[list[Finding], ListedModels | None]:
    """Check the key and the balance, and fetch the list of models."""
    if not provider.may_be_asked:
        message = "no key here (PROXYAPI_API_KEY), so nothing was sent to the provider"
        advice = "workers need one; set it where they run. Without one, `visionq up` simulates"
        return [warning(_KEY, message, advice, present=False)], None
    address = public_address(provider.base_url)
    try:
        reply, listed = list_models(provider)
    except (OSError, HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        advice = "look at the network, the proxy of the environment and PROXYAPI_BASE_URL"
        return [problem(_KEY, f"{address} can't be reached: {reason}", advice)], None
    if reply.status != HTTPStatus.OK:
        return [_refused(reply, address)], None
    return [_accepted(provider, address), _balance(provider)], listed


#: Status → what it means for the key, and what to do.
_REFUSALS: Final = {
    401: (
        "the key is not accepted",
        "put a living key of https://console.proxyapi.ru into PROXYAPI_API_KEY",
    ),
    402: ("the balance is used up", "top it up"),
    403: (
        "the key may not list models",
        "look at the key's permissions and allowed addresses in the console",
    ),
    404: ("no list of models is there", "PROXYAPI_BASE_URL ends in /openai/v1"),
}


def _refused(reply: ProviderReply, address: str) -> Finding:
    if reply.status in _REFUSALS:
        meaning, advice = _REFUSALS[reply.status]
        message = f"{address}: {meaning}{_said(reply)}"
        return problem(_KEY, message, advice, status=reply.status)
    return not_known(
        _KEY, f"{address} answered {reply.status}{_said(reply)}", "try again in a minute"
    )


def _accepted(provider: Provider, address: str) -> Finding:
    if provider.simulated:
        return ok(_KEY, f"the simulator answers at {address}; no key is needed", present=False)
    if provider.key is None:
        return ok(_KEY, f"{address} on this machine answers without a key", present=False)
    if address.startswith("http:") and not is_local(provider.base_url):
        message = f"{address} accepts the key, which goes there unencrypted"
        return warning(_KEY, message, "use an https:// address in PROXYAPI_BASE_URL", present=True)
    return ok(_KEY, f"{address} accepts the key", present=True)


def _said(reply: ProviderReply) -> str:
    """Return the provider's own words, shortened: `{"detail": …}` or OpenAI's error object."""
    body = reply.body if isinstance(reply.body, dict) else {}
    error = body.get("error")
    words = body.get("detail") or (error.get("message") if isinstance(error, dict) else error)
    return f": {str(words)[:200]}" if words else ""


def _balance(provider: Provider) -> Finding:
    check, balance = "provider.balance", read_balance(provider)
    if provider.profile.balance is None:
        said = f"how {provider.profile.name} tells the balance is not known"
        return not_known(check, said, "look at it in the seller's console; work goes on without")
    if balance is None:
        advice = (
            "allow it for the key in the console of ProxyAPI («Запрос баланса»), if you want to see"
            " it here; work goes on without"
        )
        return not_known(check, "the balance can't be read", advice)
    shown = format(balance, "f")
    advice = "top it up: when it is used up, jobs park until it is filled again"
    if balance <= 0:
        return problem(check, f"{shown} ₽: no call can be made", advice, balance_rub=shown)
    if balance < _LOW_BALANCE:
        return warning(check, f"{shown} ₽ left", advice, balance_rub=shown)
    return ok(check, f"{shown} ₽", balance_rub=shown)


def environment_findings(environ: Mapping[str, str], provider_url: str) -> list[Finding]:
    """Report the proxies in front of the provider, or the unusable variable.

    A provider on this machine, such as the simulator, is called through none.
    """
    check, read = "environment.proxies", dict(environ)
    try:
        prepare_http_environment(read)
    except ConfigurationError as error:
        advice = "correct or unset it where workers run; they do not start with it"
        return [problem(check, error.message, advice)]
    found = [f"{name} ({_shown(read[name])})" for name in proxy_variables(read)]
    if not found or is_local(provider_url):
        return []
    return [ok(check, f"the provider is called through the proxy of {', '.join(found)}")]


def _shown(proxy: str) -> str:
    return public_address(proxy if "://" in proxy else f"http://{proxy}")
