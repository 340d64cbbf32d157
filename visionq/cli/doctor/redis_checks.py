"""Check that Redis is a writable, durable primary with enough memory.

Managed services refuse or rename `CONFIG`, and some `INFO`: what one command does not report is
taken from another. A broker elsewhere need only answer.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from redis.exceptions import RedisError, ResponseError

from visionq.cli.doctor.findings import Finding, not_known, ok, problem, warning
from visionq.http_checks import is_local, public_address
from visionq.redis_connection import connect
from visionq.redis_url import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis import Redis

    from visionq.cli.doctor.findings import Detail

_OLDEST: Final = (6, 2)
#: Share of `maxmemory`; new jobs are refused a little later.
_WARNED_AT: Final = 0.7
#: Seconds. A job takes about ten round trips.
_SLOW: Final = 0.02
_SKEW: Final = 2.0
#: Bytes of a field up to which Redis packs the hash of a job; a usual job's document is below it.
_PACKED: Final = 1024
_WANTED_PACKING: Final = f"`hash-max-ziplist-value {_PACKED}`"
_ASK: Final = "ask the provider of this Redis, or allow `INFO` to this user"

_PINGS: Final = 20
#: The last one has a new name since Redis 7.0 and its old one everywhere, Valkey included.
_SETTINGS: Final = (
    "maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save", "hash-max-ziplist-value",
)  # fmt: skip
#: `HELLO` says `version` and `mode` where `INFO` says `redis_version` and `redis_mode`.
_OF_HELLO: Final = {"version": "redis_version", "mode": "redis_mode"}

_PORTS: Final = {"amqp": 5672, "pyamqp": 5672, "amqps": 5671}
_BROKER_TIMEOUT: Final = 3.0


class _NotReportedError(Exception):
    """The server does not report a value that a check needs."""


@dataclass(frozen=True, slots=True)
class Server:
    """Everything that the checks ask for."""

    #: `INFO`, else `HELLO` (which no ACL can refuse), else `CONFIG GET`: the first that reports it.
    facts: Mapping[str, str]
    #: Median seconds of a ping.
    latency: float
    #: Seconds by which this machine's clock is ahead.
    clock_ahead: float

    def fact(self, *names: str) -> str:
        """Return the first of these that is reported; raise if none is."""
        for name in names:
            if name in self.facts:
                return self.facts[name]
        raise _NotReportedError

    def number(self, name: str) -> int:
        """Return a fact as a number; raise if it is none."""
        if (text := self.fact(name)).isdecimal():
            return int(text)
        raise _NotReportedError

    @property
    def replicas(self) -> int:
        """Return how many replicas follow it; 0 if that is not reported."""
        return self.number("connected_slaves") if "connected_slaves" in self.facts else 0


def read_server(redis: Redis, clock: Callable[[], float], stopwatch: Callable[[], float]) -> Server:
    """Ask everything. Raises redis-py's errors when the server can't be reached."""
    pings = []
    for _ in range(_PINGS):
        began = stopwatch()
        _asked(redis.ping)
        pings.append(stopwatch() - began)
    before = clock()
    seconds, micros = _asked(redis.time) or (before, 0)
    ahead = (before + clock()) / 2 - (seconds + micros / 1e6)
    replies = [_asked(partial(redis.config_get, name)) for name in _SETTINGS]
    replies += [_asked(partial(redis.execute_command, "HELLO")), _asked(redis.info)]
    facts = {_OF_HELLO.get(key, key): value for reply in replies for key, value in _pairs(reply)}
    return Server(facts, median(pings), ahead)


def _asked(command: Callable[[], Any]) -> Any:  # noqa: ANN401  # what the command replies
    """Return the reply, or None if the server refuses or lacks the command."""
    try:
        return command()
    except ResponseError:
        return None


def _pairs(reply: Any) -> list[tuple[str, str]]:  # noqa: ANN401  # a map, a flat list, or None
    flat = reply or ()
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return [(_text(key), _text(value)) for key, value in pairs]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def redis_findings(
    server: Server, url: str, refuse_at: float, *, is_of_stack: bool = False
) -> list[Finding]:
    """Return the findings about a server that answers.

    `is_of_stack`: `visionq up` started it on this machine, with settings of its own.
    """
    memory = partial(_memory, refuse_at=refuse_at, is_of_stack=is_of_stack)
    #: Check → its function, and the message and advice if the server does not report it.
    checks: dict[str, tuple[Callable[[str, Server], Finding], str, str]] = {
        "redis.version": (
            _version, "the version is not reported", f"it must be 6.2 or newer: {_ASK}"
        ),
        "redis.role": (
            _role, "primary or replica: not reported", f"it must be the primary: {_ASK}"
        ),
        "redis.mode": (_mode, "cluster or not: not reported", f"it must be no cluster: {_ASK}"),
        "redis.eviction": (
            _eviction, "whether keys are evicted at the memory limit is not reported",
            "ask the provider for `maxmemory-policy noeviction`: else jobs vanish when it is full",
        ),
        "redis.persistence": (
            _persistence, "whether Redis writes its data out is not reported",
            "ask the provider for AOF (`appendonly yes`) and its `appendfsync`",
        ),
        "redis.memory": (
            memory, "memory used and its limit are not reported",
            f"jobs are refused at {refuse_at:.0%} of the limit, if `INFO` is allowed: {_ASK}",
        ),
        "redis.packing": (
            _packing, "whether queued jobs are packed is not reported",
            f"ask the provider for {_WANTED_PACKING}: else a queued job takes twice the memory",
        ),
    }  # fmt: skip
    found = []
    for check, (judge, unreported, advice) in checks.items():
        try:
            found.append(judge(check, server))
        except _NotReportedError:
            found.append(not_known(check, unreported, advice))
    return [*found, _latency(server), _encryption(url), _clock(server)]


def _version(check: str, server: Server) -> Finding:
    version, valkey = server.fact("redis_version"), server.facts.get("valkey_version")
    name = "Valkey" if valkey or server.facts.get("server") == "valkey" else "Redis"
    shown = f"{name} {valkey or version}"
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _OLDEST:
        return problem(check, f"{shown} is too old", "use Redis 6.2 or newer, or Valkey")
    return ok(check, shown, version=version)


def _role(check: str, server: Server) -> Finding:
    role = server.fact("role")
    if role in {"slave", "replica"}:
        advice = "put the address of the primary into VISIONQ_REDIS_URL"
        return problem(check, "this is a replica: it takes no jobs", advice, role=role)
    shown = f"primary with {server.replicas} replicas" if server.replicas else "primary"
    return ok(check, shown, role=role, replicas=server.replicas)


def _mode(check: str, server: Server) -> Finding:
    mode = server.fact("redis_mode")
    if mode != "cluster":
        return ok(check, f"{mode}, no cluster", mode=mode)
    message = "this is a cluster, which the ledger's scripts can't use"
    advice = "use a server without cluster mode, with replicas if it must not fail"
    return problem(check, message, advice, mode=mode)


def _eviction(check: str, server: Server) -> Finding:
    policy = server.fact("maxmemory_policy", "maxmemory-policy")
    if policy == "noeviction":
        return ok(check, "noeviction: nothing vanishes at the memory limit", policy=policy)
    message = f"{policy}: at its memory limit Redis deletes jobs and answers"
    advice = "set `maxmemory-policy noeviction` (CONFIG SET, redis.conf or the provider's panel)"
    return problem(check, message, advice, policy=policy)


#: `appendfsync` → what is lost with the host.
_LOSSES: Final = {
    "always": "nor does the loss of Redis or its host",
    "everysec": "the loss of the host, or of Redis at a slow disk, may lose the last second or two",
    "no": "the loss of the host may lose about the last half minute",
}


def _persistence(check: str, server: Server) -> Finding:
    if server.fact("aof_enabled", "appendonly") in {"0", "no"}:
        return _without_aof(check, server)
    if server.facts.get("aof_last_write_status") == "err":
        advice = "look at the disk of the Redis host: full, or read-only"
        return problem(check, "the AOF can't be written, so Redis refuses jobs", advice)
    survives = "the death of a producer or worker loses nothing acknowledged"
    fsync = server.facts.get("appendfsync")
    if fsync not in _LOSSES:
        unknown = "what the loss of the host costs (`appendfsync`) is not reported"
        return ok(check, f"AOF: {survives}; {unknown}", aof=True, appendfsync=None)
    message = f"AOF, appendfsync {fsync}: {survives}, {_LOSSES[fsync]}"
    if fsync == "no":
        advice = "set `appendfsync everysec`, or `always` where each answer counts"
        return warning(check, message, advice, aof=True, appendfsync=fsync)
    return ok(check, message, aof=True, appendfsync=fsync)


def _without_aof(check: str, server: Server) -> Finding:
    advice = "set `appendonly yes` with `appendfsync everysec`"
    if server.replicas:
        message = "no AOF, but replicas: a failover may lose the latest jobs and paid answers"
        return warning(check, message, advice, aof=False)
    unsaved = {None: "what no snapshot holds", "": "everything"}
    kept = unsaved.get(server.facts.get("save"), "all since the last snapshot")
    message = f"no AOF: when Redis ends, {kept} is lost, paid answers too"
    return problem(check, message, advice, aof=False)


def _memory(check: str, server: Server, *, refuse_at: float, is_of_stack: bool) -> Finding:
    used, limit = server.number("used_memory"), server.number("maxmemory")
    figures: dict[str, Detail] = {"used_bytes": used, "limit_bytes": limit or None}
    if limit == 0 and is_of_stack:
        return _memory_of_host(check, server, used)
    if limit == 0:
        message = f"{_size(used)} used, and no limit: Redis can take the whole memory of its host"
        advice = "set `maxmemory` below what the host has, so that jobs are refused in time"
        return warning(check, message, advice, **figures)
    message = f"{_size(used)} of {_size(limit)} used ({used / limit:.0%})"
    advice = "raise `maxmemory`, or shorten VISIONQ_RESULT_TTL"
    if used >= limit * refuse_at:
        message += f": new jobs are refused from {refuse_at:.0%} on"
        return problem(check, message, advice, **figures)
    if used >= limit * _WARNED_AT:
        message += f"; new jobs will be refused at {refuse_at:.0%}"
        return warning(check, message, advice, **figures)
    return ok(check, message, **figures)


def _memory_of_host(check: str, server: Server, used: int) -> Finding:
    """Return which share of the machine's memory the Redis of `visionq up` takes: its limit."""
    host = server.number("total_system_memory") if "total_system_memory" in server.facts else None
    figures: dict[str, Detail] = {"used_bytes": used, "limit_bytes": None, "host_bytes": host}
    message = f"{_size(used)} used; the Redis of `visionq up` is limited by this machine's memory"
    message += f" ({_size(host)})" if host else ""
    if host is None or used < host * _WARNED_AT:
        return ok(check, message, **figures)
    advice = "let jobs end, shorten VISIONQ_RESULT_TTL, or use a Redis with `maxmemory`"
    return warning(check, message, advice, **figures)


def _packing(check: str, server: Server) -> Finding:
    packed = server.number("hash-max-ziplist-value")
    if packed >= _PACKED:
        return ok(check, "queued jobs are packed: about 550 bytes each", bytes=packed)
    return warning(
        check,
        f"fields over {packed} bytes are not packed: a queued job takes about 1,030 bytes, not 550",
        f"set {_WANTED_PACKING} (`hash-max-listpack-value` in newer names; CONFIG SET, redis.conf"
        " or the provider's panel)",
        bytes=packed,
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _latency(server: Server) -> Finding:
    seconds = round(server.latency, 6)
    message = f"{server.latency * 1000:.1f} ms, the median of {_PINGS} pings"
    if server.latency <= _SLOW:
        return ok("redis.latency", message, seconds=seconds)
    advice = "run workers and producers close to Redis: each job takes about ten round trips"
    return warning("redis.latency", message, advice, seconds=seconds)


def _encryption(url: str) -> Finding:
    check, parts = "redis.tls", urlsplit(url)
    if parts.scheme == "rediss":
        return ok(check, "TLS", tls=True)
    if is_local(url):
        return ok(check, "no TLS, and none needed on this machine", tls=False)
    open_to_all = "" if parts.password else ", and no password is asked for"
    message = f"no TLS: anyone on the network sees pictures and answers{open_to_all}"
    advice = "use `rediss://` and a password, or keep Redis in a network of its own"
    return warning(check, message, advice, tls=False)


def _clock(server: Server) -> Finding:
    check, ahead = "redis.clock", round(server.clock_ahead, 3)
    if abs(ahead) <= _SKEW:
        message = "the clocks of Redis and this machine agree"
        return ok(check, message, ahead_seconds=ahead)
    message = f"this machine is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} Redis"
    advice = "let both follow NTP: leases go by Redis's clock, deadlines that people set by theirs"
    return warning(check, message, advice, ahead_seconds=ahead)


def broker_finding(url: str) -> Finding:
    """Ask a Redis for an answer, and any other broker for a connection."""
    check, address = "broker.reachable", public_address(url)
    try:
        if url.partition(":")[0] in SCHEMES:
            with connect(url, "visionq-doctor", retries=0) as redis:
                redis.ping()
            return ok(check, f"{address} answers")
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
        if port is None or parts.hostname is None:
            raise ValueError("the address names no host and port")  # noqa: TRY301  # reported below
        with socket.create_connection((parts.hostname, port), _BROKER_TIMEOUT):
            return ok(check, f"something listens at {address}; workers log in to it")
    except (RedisError, OSError, ValueError) as error:
        advice = "start it, or correct VISIONQ_BROKER_URL; without it no job reaches a worker"
        return problem(check, f"{address} can't be used: {error}", advice)
