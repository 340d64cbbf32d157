"""Whether a broker that is not the ledger's Redis is there."""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from visionq.cli.doctor.addresses import public_address
from visionq.cli.doctor.findings import Finding, ok, problem
from visionq.redis_connection import connect
from visionq.redis_url import SCHEMES

_PORTS: Final = {"amqp": 5672, "pyamqp": 5672, "amqps": 5671}
_PATIENCE: Final = 3.0
_ADVICE: Final = "start it, or correct VISIONQ_BROKER_URL; without it no job reaches a worker"


def broker_finding(url: str) -> Finding:
    """Ask a Redis for an answer, and any other broker for a connection."""
    check, scheme = "broker.reachable", url.partition(":")[0]
    address = public_address(url)
    try:
        if scheme in SCHEMES:
            with connect(url, "visionq-doctor", retries=0) as redis:
                redis.ping()
            return ok(check, f"{address} answers")
        return _listens(url, address)
    except (RedisError, OSError, ValueError) as error:
        return problem(check, f"{address} can't be used: {error}", _ADVICE)


def _listens(url: str, address: str) -> Finding:
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    if port is None or parts.hostname is None:
        raise ValueError("the address names no host and port")
    with socket.create_connection((parts.hostname, port), _PATIENCE):
        return ok("broker.reachable", f"something listens at {address}; workers log in to it")
