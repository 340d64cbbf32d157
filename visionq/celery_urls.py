"""The address of Redis in the words of Celery, which differ from redis-py's."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

_SOCKET_SCHEME: Final = "redis+socket"
_CERTIFICATE: Final = "ssl_cert_reqs"


def celery_url(url: str) -> str:
    """Return what Celery takes for broker and result backend.

    A socket has another scheme there, with its database as `virtual_host`; and TLS has to say that
    certificates are checked, which redis-py does by itself.
    """
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme == "unix":
        database = query.pop("db", "0")
        # As it stands in the address: percent-encoded already.
        login = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
        query = {"virtual_host": database, **query}
        return f"{_SOCKET_SCHEME}://{login}{parts.path}?{urlencode(query)}"
    if parts.scheme == "rediss":
        query.setdefault(_CERTIFICATE, "required")
        return urlunsplit(parts._replace(query=urlencode(query)))
    return url
