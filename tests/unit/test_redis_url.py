"""The address of Redis in the words of Celery: each form is read back by kombu itself."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from celery import Celery
from kombu.transport.redis import Channel

from visionq.redis_url import celery_url, parse_redis_url


def broker(url: str) -> dict[str, Any]:
    """Return what kombu connects with; a channel that is made in the usual way connects at once."""
    connection = Celery(broker=celery_url(url)).connection_for_write()
    channel: Any = Channel.__new__(Channel)
    channel.connection = connection.transport
    channel.close = lambda: None
    found: dict[str, Any] = channel._connparams()
    return found


def backend(url: str) -> dict[str, Any]:
    """Return what Celery's result backend connects with."""
    results: Any = Celery(backend=celery_url(url)).backend
    found: dict[str, Any] = results.connparams
    return found


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://default:p%40ss@redis:6380/3",
        "redis://127.0.0.1:6379/0?protocol=3",
    ],
)
def test_plain(url: str) -> None:
    """A plain address is the same for both."""
    assert celery_url(url) == url


@pytest.mark.parametrize(
    ("url", "path", "database", "password"),
    [
        ("unix:///run/redis.sock", "/run/redis.sock", 0, None),
        ("unix:///run/redis.sock?db=4", "/run/redis.sock", 4, None),
        ("unix://:p%40s%2Fs@/run/my%20redis.sock?db=2", "/run/my redis.sock", 2, "p@s/s"),
        ("unix://worker:secret@/run/redis.sock", "/run/redis.sock", 0, "secret"),
    ],
)
def test_sockets(url: str, path: str, database: int, password: str | None) -> None:
    """A socket keeps its path, database and password, for the broker and for results."""
    results = backend(url)
    assert results["path"] == path
    assert results["db"] == database
    assert results.get("password") == password
    hints = broker(url)
    assert results.get("username") == hints["username"] == ("worker" if "worker" in url else None)
    assert (hints["path"], hints["db"], hints["password"]) == (path, database, password)


def test_tls_checks_certificates() -> None:
    """TLS checks certificates unless the address says otherwise, and keeps its own authority."""
    assert backend("rediss://redis:6379/0")["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert backend("rediss://redis:6379/0?ssl_cert_reqs=none")["ssl_cert_reqs"] == ssl.CERT_NONE
    own = backend("rediss://redis:6379/1?ssl_ca_certs=/etc/my%20ca.pem")
    assert own["ssl_ca_certs"] == "/etc/my ca.pem"
    assert own["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert own["db"] == 1


@pytest.mark.parametrize(("asked", "checks"), [("", "required"), ("?ssl_cert_reqs=none", "none")])
def test_tls_of_the_broker(asked: str, checks: str) -> None:
    """The broker's connection checks as the results' does."""
    assert f"ssl_cert_reqs={checks}" in celery_url(f"rediss://redis:6379/0{asked}")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://:hush@redis", "begin with redis://"),
        ("redis://:hu sh@redis", "a blank"),
        ("redis://:hush#@redis", "written as %23"),
        ("redis://:hush@redis:0", "the port is"),
        ("redis://:hush@redis:http", "the port is"),
        ("unix://:hush@run/redis.sock", "unix:///absolute/path"),
        ("redis://:hush@/0", "names no host"),
        ("redis://:hush@redis?db=1&db=2", "given twice"),
        ("redis://:hush@redis?timeout=1", "'timeout' is not taken"),
        ("redis://:hush@redis?ssl_ca_certs=/ca.pem", "need rediss://"),
        ("rediss://:hush@redis?ssl_cert_reqs=perhaps", "none, optional, required"),
    ],
)
def test_wrong_addresses(url: str, says: str) -> None:
    """A wrong address is refused by what is wrong with it, and its password is not repeated."""
    with pytest.raises(ValueError, match=says) as refused:
        parse_redis_url(url)
    assert "hush" not in str(refused.value)
