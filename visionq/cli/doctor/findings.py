"""What a check found, and how addresses are shown."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import Field

from visionq.contract.base import Document

Detail = str | int | float | bool | None


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    #: It works, but deserves attention.
    WARNING = "warning"
    #: Something does not work, or work will be lost.
    PROBLEM = "problem"
    #: It could not be looked at; the advice says who knows.
    NOT_KNOWN = "not_known"


class Finding(Document):
    """What was found, and what to do."""

    #: What was looked at, as `redis.memory`. Names stay.
    check: str
    level: Level
    message: str
    #: What to do; None where there is nothing to do.
    advice: str | None = None
    #: Figures for programs. Money is a decimal string, times are seconds.
    details: dict[str, Detail] = Field(default_factory=dict)


def ok(check: str, message: str, **details: Detail) -> Finding:
    """Return that a thing is well."""
    return Finding(check=check, level=Level.OK, message=message, details=details)


def warning(check: str, message: str, advice: str, **details: Detail) -> Finding:
    """Return something that works but deserves attention."""
    return Finding(
        check=check, level=Level.WARNING, message=message, advice=advice, details=details
    )


def problem(check: str, message: str, advice: str, **details: Detail) -> Finding:
    """Return what does not work."""
    return Finding(
        check=check, level=Level.PROBLEM, message=message, advice=advice, details=details
    )


def not_known(check: str, message: str, advice: str) -> Finding:
    """Return what could not be looked at."""
    return Finding(check=check, level=Level.NOT_KNOWN, message=message, advice=advice)


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
