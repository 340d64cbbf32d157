"""Addresses: how they may be shown, and whether they lead to this machine."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


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
