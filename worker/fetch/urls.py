"""Which URLs may be fetched, as far as their text tells. Addresses are checked when connecting."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

import httpx2

from visionq.errors import UnsafeUrl
from visionq.http_checks import check_url_text
from worker.fetch.addresses import is_public, refusal

if TYPE_CHECKING:
    from worker.fetch.policy import FetchPolicy

_HOST_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*\.?")
_MAX_HOST: Final = 253
#: A last label that is a number makes the whole host an IPv4 address, in whatever spelling.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def check_url(text: str, *, name: str, policy: FetchPolicy) -> httpx2.URL:
    """Return the parsed URL if it may be fetched under `policy`.

    The parser is the one of the HTTP client, so that both see the same host.

    Raises:
        UnsafeUrl: what is wrong with it, with `image=name`.
    """
    check_url_text(text, name)
    try:
        url = httpx2.URL(text)
        host = url.raw_host.decode("ascii").lower()
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise UnsafeUrl("the URL can't be read", image=name) from None
    if url.scheme not in {"http", "https"}:
        raise UnsafeUrl("only http and https are fetched", image=name)
    if url.userinfo:
        raise UnsafeUrl("a URL with a user name or password is not fetched", image=name)
    _check_host(host, name=name, policy=policy)
    return url


def _check_host(host: str, *, name: str, policy: FetchPolicy) -> None:
    address = _as_address(host, name=name)
    if any(matches_host(host, denied) for denied in policy.denied_hosts):
        raise UnsafeUrl("the host is among VISIONQ_DENIED_HOSTS", image=name)
    if policy.allowed_hosts and not any(
        matches_host(host, allowed) for allowed in policy.allowed_hosts
    ):
        message = "the host is not among VISIONQ_ALLOWED_HOSTS; ask the operator to add it"
        raise UnsafeUrl(message, image=name)
    if address is None or policy.allow_private or is_public(address, policy.trusted_ranges):
        return
    raise UnsafeUrl(f"{refusal(address)}, or upload the picture instead", image=name)


def _as_address(host: str, *, name: str) -> str | None:
    """Return the host if it is an address in its one true spelling, None if it is a name."""
    if ":" in host:
        try:
            return str(IPv6Address(host))
        except AddressValueError:
            raise UnsafeUrl("the host is no address that can be read", image=name) from None
    if len(host) > _MAX_HOST or not _HOST_NAME.fullmatch(host):
        raise UnsafeUrl("the URL has no valid host", image=name)
    if not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return None
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        message = "write an IPv4 address as four decimal numbers"
        raise UnsafeUrl(message, image=name) from None


def matches_host(host: str, allowed: str) -> bool:
    """Compare with an entry of a list: `example.org`, or `.example.org` for all below.

    `*.example.org` means the latter too.
    """
    host, allowed = host.rstrip("."), allowed.lower().rstrip(".").removeprefix("*")
    if allowed.startswith("."):
        return host.endswith(allowed)
    return host == allowed
