"""What each process of a stack is told: of `up`'s environment only what it has a use for.

What a process does not hold it can't give away: to its logs, to a page for people, to whoever gets
to run code in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from visionq.settings import Settings, variable_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Role = Literal["redis", "simulator", "worker", "flower", "gateway", "exporter"]

#: Settings that workers alone have a use for and that are secrets, or lead to some.
WORKERS_SECRETS: Final = frozenset(
    {"api_key", "host_headers", "alert_url", "alert_secret", "traces_url", "sentry_dsn"}
)
#: Variables that `up` decides itself, whatever its own environment says.
_DECIDED: Final = frozenset(
    {
        *("PROXYAPI_API_KEY", "PROXYAPI_BASE_URL"),
        *("VISIONQ_BLOB_URL", "VISIONQ_BROKER_URL", "VISIONQ_REDIS_URL"),
    }
)
#: What any process may want to know of the machine: paths, language, time, libraries.
_MACHINE: Final = (
    "PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|TERM|NO_COLOR|HOSTNAME|XDG_.*"
    "|PYTHON.*|VIRTUAL_ENV|LD_.*|DYLD_.*|MALLOC_.*|COVERAGE_.*|SSL_CERT_(FILE|DIR)"
)
#: Workers go out to the internet, and bring local detectors with settings of their own.
_WORKER: Final = (
    "VISIONQ_(?!FLOWER_|GATEWAY_).*|(HTTPS?|ALL|NO)_PROXY|OTEL_.*|SENTRY_.*|TESSDATA_PREFIX|OMP_.*"
)


def _pattern(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts), re.IGNORECASE)  # as the settings read their names


_SHARED: Final = "|".join(
    re.escape(variable_of(name))
    for name in Settings.variable_fields()
    if name not in WORKERS_SECRETS
)
_ALLOWED: Final[Mapping[Role, re.Pattern[str]]] = {
    "redis": _pattern(_MACHINE),
    "simulator": _pattern(_MACHINE),
    "worker": _pattern(_MACHINE, _WORKER),
    "flower": _pattern(_MACHINE, _SHARED, "VISIONQ_FLOWER_.*", "FLOWER_.*"),
    "gateway": _pattern(_MACHINE, _SHARED, "VISIONQ_GATEWAY_.*"),
    "exporter": _pattern(_MACHINE, _SHARED),
}


def environment_for(role: Role, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a process of this role is told of `up`'s own environment."""
    allowed = _ALLOWED[role]
    return {
        name: value
        for name, value in environment.items()
        if name.upper() not in _DECIDED and allowed.fullmatch(name)
    }
