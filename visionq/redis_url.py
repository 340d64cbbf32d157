"""The address of Redis: one parser and one meaning, for redis-py and for Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from urllib.parse import SplitResult

SCHEMES: Final = ("redis", "rediss", "unix")
#: Options of TLS that redis-py and Celery understand alike.
_TLS_OPTIONS: Final = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CERTIFICATE_CHECKS: Final = ("none", "optional", "required")
_HIGHEST_DATABASE: Final = 2**31 - 1
_HIGHEST_PORT: Final = 65535


def parse_redis_url(url: str) -> str:
    """Return the address in one spelling: database in the path (sockets: `?db=`).

    Raises:
        ValueError: what is wrong with it, without repeating it; it may hold a password.
    """
    parts = _split(url)
    query = _query(parts)
    database = _database(parts, query.pop("db", None))
    for option in query:
        if option not in _TLS_OPTIONS:
            known = ", ".join(("db", *_TLS_OPTIONS))
            raise ValueError(f"the option {option!r} is not taken; known are {known}")
    if query and parts.scheme != "rediss":
        raise ValueError("options of TLS need rediss:// in front")
    if query.get("ssl_cert_reqs", "none") not in _CERTIFICATE_CHECKS:
        raise ValueError(f"ssl_cert_reqs is one of {', '.join(_CERTIFICATE_CHECKS)}")
    if parts.scheme == "unix":
        return f"unix://{parts.netloc}{parts.path}" + (f"?db={database}" if database else "")
    return urlunsplit(parts._replace(path=f"/{database}", query=urlencode(query)))


def celery_url(url: str) -> str:
    """Return the URL for Celery's broker and result backend.

    A socket has another scheme there, with its database as `virtual_host`; and TLS has to say that
    certificates are checked, which redis-py does by itself.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        # As in the address: percent-encoded already.
        login = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
        return f"redis+socket://{login}{parts.path}?virtual_host={query.get('db', '0')}"
    if parts.scheme == "rediss":
        query.setdefault("ssl_cert_reqs", "required")
        return urlunsplit(parts._replace(query=urlencode(query)))
    return url


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or "://" not in url:
        raise ValueError("it must begin with redis://, rediss:// or unix://")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("it holds a blank or a control character; write it as %20 or the like")
    if parts.fragment or "#" in url:
        raise ValueError("a # in a password is written as %23")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is not None and not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"the port is a number from 1 to {_HIGHEST_PORT}")
    if parts.scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise ValueError("a socket is given as unix:///absolute/path")
    elif not parts.hostname:
        raise ValueError("it names no host")
    return parts


def _query(parts: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = dict(pairs)
    if len(query) < len(pairs):
        raise ValueError("an option is given twice")
    return query


def _database(parts: SplitResult, option: str | None) -> int:
    path = None if parts.scheme == "unix" else parts.path.strip("/") or None
    given = {text for text in (path, option) if text is not None}
    if len(given) > 1:
        raise ValueError("the path and ?db= name different databases")
    text = given.pop() if given else "0"
    if not (text.isascii() and text.isdecimal()) or int(text[:11]) > _HIGHEST_DATABASE:
        raise ValueError("the database is a number, as in redis://host:6379/0")
    return int(text)
