"""The finding of a check: level, message, advice and details."""

from __future__ import annotations

from enum import StrEnum
from functools import partial

from pydantic import Field

from visionq.contract.base import Document

Detail = str | int | float | bool | None


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    #: It works, but deserves attention.
    WARNING = "warning"
    #: Something does not work, or work will be lost.
    PROBLEM = "problem"
    #: It could not be looked at; the advice says who knows.
    NOT_KNOWN = "not_known"


class Finding(Document):
    """A finding of a check, with advice."""

    #: What was looked at, as `redis.memory`. Names stay.
    check: str
    level: Level
    message: str
    #: What to do; None where there is nothing to do.
    advice: str | None = None
    #: Figures for programs. Money is a decimal string, times are seconds.
    details: dict[str, Detail] = Field(default_factory=dict)


def _finding(
    level: Level, check: str, message: str, advice: str | None = None, /, **details: Detail
) -> Finding:
    return Finding(check=check, level=level, message=message, advice=advice, details=details)


ok = partial(_finding, Level.OK)
warning = partial(_finding, Level.WARNING)
problem = partial(_finding, Level.PROBLEM)
not_known = partial(_finding, Level.NOT_KNOWN)
