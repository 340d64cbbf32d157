"""The variables by which the environment steers HTTP clients: proxies and certificates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
#: How clients of VPNs write SOCKS 5.
_SOCKS: Final = "socks://"
_CERTIFICATES: Final = {"SSL_CERT_FILE": Path.is_file, "SSL_CERT_DIR": Path.is_dir}


def prepare_http_environment(environ: MutableMapping[str, str]) -> None:
    """Check proxies and certificates, and read `socks://` as `socks5://`.

    Raises:
        ConfigurationError: a variable can't be used; names it.
    """
    for name in proxy_variables(environ):
        if environ[name].lower().startswith(_SOCKS):
            environ[name] = f"socks5://{environ[name][len(_SOCKS) :]}"
        _check_proxy(name, environ[name])
    for name, exists in _CERTIFICATES.items():
        path = environ.get(name)
        if path and not exists(Path(path)):
            raise ConfigurationError(f"{name}: {path} is not there; unset it, or correct the path")


def proxy_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the proxy variables that are set, in either case of letters."""
    return [name for name in environ if name.upper() in _PROXIES and environ[name]]


def _check_proxy(name: str, value: str) -> None:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable or not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigurationError(
            f"{name}: a proxy is given as http://host:port or socks5://host:port;"
            " unset the variable to go without"
        )
