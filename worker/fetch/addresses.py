"""Which addresses are the open internet, and which must never be reached from inside a network.

`ipaddress.is_global` of Python 3.11 lets some of these pass, so the tables stand here in full:
IANA's special-purpose registries for IPv4 and IPv6, as of November 2026.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Tell whether an address, as text, belongs to the open internet, or to a trusted range.

    One of NAT64 is judged by the IPv4 address that it leads to. Others that carry one (mapped,
    6to4, Teredo, ISATAP) are never public, whatever they carry; nor is text that is no address.
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
    """Return what is to be told about an address that is not public."""
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
