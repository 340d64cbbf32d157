"""Addresses: how they may be shown, and whether they lead to this machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Container

#: What redis-py takes.
REDIS_SCHEMES: Final = ("redis", "rediss", "unix")


def is_address(url: str, schemes: Container[str]) -> bool:
    """Return whether it is an address of one of these kinds, with a port that can be one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname or parts.path) and parts.port != 0
    except ValueError:
        return False


def public_address(url: str) -> str:
    """Return an address without its user, its password and its options."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def is_local(url: str) -> bool:
    """Return whether an address leads to this machine, and so to no network."""
    parts = urlsplit(url)
    if parts.scheme in {"unix", "redis+socket"} or parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
