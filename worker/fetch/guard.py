"""Decide which URLs and addresses may be fetched, by the operator's policy.

`ipaddress.is_global` of Python 3.11 lets some closed ranges pass, so the tables are here in full:
IANA's special-purpose registries for IPv4 and IPv6, as of November 2026. A URL is checked by its
text; the addresses that its host resolves to are checked when connecting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import TYPE_CHECKING, Final

import httpx2

from visionq.errors import UnsafeUrl
from visionq.http_checks import check_url_text
from worker.retry_after import LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    #: A range of addresses that the operator opens.
    Range = IPv4Network | IPv6Network

_CLOSED_IPV4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; one cloud's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host services: a public number, but inside every machine
        "169.254.0.0/16",  # link-local; metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; one cloud's metadata service
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
#: Made up by the DNS of VPNs, which then know what name a connection is for.
_FAKE: Final = IPv4Network("198.18.0.0/15")
#: What DNS64 answers where there is only IPv6: the last 32 bits are the address that is reached.
_NAT64: Final = IPv6Network("64:ff9b::/96")
#: Global unicast. Loopback, mapped IPv4, private, link-local and multicast lie outside.
_OPEN_IPV6: Final = IPv6Network("2000::/3")
_CLOSED_IPV6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
#: Interface identifiers of ISATAP, another IPv4 address in disguise.
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


def is_public(address: str, trusted: Sequence[Range] = ()) -> bool:
    """Return whether an address is public or in a trusted range.

    One of NAT64 is judged by the IPv4 address that it leads to. Others that carry one (mapped,
    6to4, Teredo, ISATAP) are never public; nor is text that is no address.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if any(parsed in network for network in trusted):
        return True
    if isinstance(parsed, IPv6Address) and parsed.scope_id is None and parsed in _NAT64:
        parsed = IPv4Address(int(parsed) & 0xFFFFFFFF)
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _CLOSED_IPV4)
    return _is_public_ipv6(parsed)


def refusal(address: str) -> str:
    """Return the message about an address that is not public."""
    parsed = ip_address(address)
    made_up = isinstance(parsed, IPv4Address) and parsed in _FAKE
    kind = ", made up by the DNS of a VPN," if made_up else ""
    return (
        f"{address}{kind} is not on the open internet; "
        "the operator can open its range by VISIONQ_TRUSTED_RANGES"
    )


def _is_public_ipv6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in _OPEN_IPV6:
        return False
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return False
    return not any(address in network for network in _CLOSED_IPV6)


@dataclass(frozen=True)
class FetchPolicy:
    """Limits of every download; seconds throughout."""

    #: Fetch from any address: for tests and closed networks.
    allow_private: bool = False
    #: The only hosts fetched from (`example.org`, or `.example.org` for all below); empty: any.
    allowed_hosts: tuple[str, ...] = ()
    #: Hosts never fetched from, in the same spelling.
    denied_hosts: tuple[str, ...] = ()
    #: Ranges of addresses that are fetched from although they are not public.
    trusted_ranges: tuple[Range, ...] = ()
    #: What downloads say they come from.
    user_agent: str = "visionq"
    #: Headers for a host, by its name in lower case, or for all below, in the same spelling; of
    #: several the most exact alone is used, and no other host gets them.
    host_headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    #: To reach the server, TLS included, for each of its addresses.
    connect_timeout: float = 5
    #: Silence of the server.
    read_timeout: float = 15
    #: The whole download, redirects included.
    total_timeout: float = 60
    #: All downloads of a job, however many; where they are more, so long for each of them.
    job_timeout: float = 120
    job_timeout_each: float = 4
    #: Bytes a second that a body brings at least, once it was waited for so long.
    least_rate: float = 1000
    least_rate_after: float = 10
    max_redirects: int = 3
    #: Longest `Retry-After` of a server that is respected.
    longest_wait: float = LONGEST_WAIT
    #: Connections of the process at one time; further downloads wait for one.
    max_connections: int = 64
    #: Of those, to one host.
    max_connections_per_host: int = 8


_HOST_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*\.?")
_MAX_HOST: Final = 253
#: A last label that is a number makes the whole host an IPv4 address, in any spelling.
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
    """Return the host if it is an address in canonical form, None for a name."""
    if ":" in host:
        try:
            return str(IPv6Address(host))
        except AddressValueError:
            raise UnsafeUrl("the host is not a valid address", image=name) from None
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
