"""What the environment makes of calls to the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.cli.doctor.addresses import is_local, public_address
from visionq.cli.doctor.findings import Finding, ok, problem
from visionq.http_checks import prepare_http_environment, proxy_variables
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHECK: Final = "environment.proxies"


def environment_findings(environ: Mapping[str, str], provider_url: str) -> list[Finding]:
    """Name the proxies by which the provider is called, or the variable that can't be used.

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
