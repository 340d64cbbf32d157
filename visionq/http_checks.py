"""Checks around HTTP: addresses of pictures, proxies, certificates, parts of our own stack."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from visionq.errors import ConfigurationError, UnsafeUrl

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
#: How clients of VPNs write SOCKS 5.
_SOCKS: Final = "socks://"
_CERTIFICATES: Final = {"SSL_CERT_FILE": Path.is_file, "SSL_CERT_DIR": Path.is_dir}
MAX_URL_LENGTH: Final = 8192
_LARGEST_PORT: Final = 65535
#: Backslashes and blanks are read differently by different programs.
_AMBIGUOUS: Final = re.compile(r"[\\\s\x00-\x20\x7f]")
#: Also a user whose name is empty.
_HAS_USER: Final = re.compile(r"[^/?#]*//[^/?#]*@")
#: Variable by which `visionq up` gives each of its parts a nonce, and the header in which the
#: part's health page returns it: another program on that port does not know it.
STACK_NONCE: Final = "VISIONQ_STACK_NONCE"
STACK_HEADER: Final = "X-Visionq-Stack"


def check_url_text(text: str, name: str) -> None:
    """Check that a text can be the address of a picture.

    Raises:
        UnsafeUrl: what is wrong with it, with `image=name`.
    """
    if len(text) > MAX_URL_LENGTH or _AMBIGUOUS.search(text):
        raise UnsafeUrl("the URL is too long or holds blanks or backslashes", image=name)
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise UnsafeUrl("the URL can't be read", image=name) from None
    if url.scheme not in {"http", "https"}:
        raise UnsafeUrl("only http and https are fetched", image=name)
    if _HAS_USER.match(text):
        raise UnsafeUrl("a URL with a user name or password is not fetched", image=name)
    if not host:
        raise UnsafeUrl("the URL has no valid host", image=name)
    if port is not None and not 1 <= port <= _LARGEST_PORT:
        raise UnsafeUrl(f"there is no port {port}", image=name)


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


def public_address(url: str) -> str:
    """Return an address without its user, its password and its options."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_local(url: str) -> bool:
    """Return whether an address leads to this machine, and so to no network."""
    parts = urlsplit(url)
    return parts.scheme in {"unix", "redis+socket"} or is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Return whether a host, by its name or its address, is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def nonce_headers(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the headers of a health page; none outside `visionq up`."""
    nonce = environ.get(STACK_NONCE)
    return {STACK_HEADER: nonce} if nonce else {}
