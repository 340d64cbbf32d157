"""What visionq needs of its Redis: a writable server that keeps what it has acknowledged.

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

from visionq.cli.doctor.findings import (
    Detail,
    Finding,
    is_local,
    not_known,
    ok,
    problem,
    public_address,
    warning,
)
from visionq.redis_connection import connect
from visionq.redis_url import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis import Redis

_OLDEST: Final = (6, 2)
#: Submission is refused at this share of `maxmemory`; the doctor warns a little earlier.
_REFUSED_AT: Final = 0.85
_WARNED_AT: Final = 0.7
#: Seconds. A job takes about ten round trips.
_SLOW: Final = 0.02
_SKEW: Final = 2.0
_MEGABYTE: Final = 1_000_000
#: Bytes of a field up to which Redis packs the hash of a job; a usual job's document is below it.
_PACKED: Final = 1024
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


@dataclass(frozen=True, slots=True)
class Server:
    """Everything that the checks ask for; None is what the server did not report."""

    #: `INFO`, or None if it is refused.
    info: Mapping[str, Any] | None
    #: `CONFIG GET`, or None if it is refused.
    config: Mapping[str, str] | None
    #: `HELLO`, which no rule of an ACL can refuse: version, mode and role.
    hello: Mapping[str, Any]
    #: Median seconds of a ping.
    latency: float
    #: Seconds by which this machine's clock is ahead.
    clock_ahead: float

    def field(self, name: str, setting: str | None = None) -> str | None:
        """Return a field of `INFO`, else of `HELLO`, else the setting of that name."""
        for source in (self.info, self.hello):
            if source is not None and name in source:
                return str(source[name])
        return self.setting(setting) if setting else None

    def setting(self, name: str) -> str | None:
        """Return what `CONFIG` says."""
        return None if self.config is None else self.config.get(name)

    def number(self, name: str, setting: str | None = None) -> int | None:
        """Return the same as a number."""
        text = self.field(name, setting)
        return int(text) if text is not None and text.isdecimal() else None


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
    hello = _asked(partial(redis.execute_command, "HELLO")) or {}
    return Server(_asked(redis.info), _config(redis), _pairs(hello), median(pings), ahead)


def _asked(command: Callable[[], Any]) -> Any:  # noqa: ANN401  # what the command replies
    """Return the reply, or None if the server refuses or lacks the command."""
    try:
        return command()
    except ResponseError:
        return None


def _config(redis: Redis) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for name in _SETTINGS:
        reply = _asked(partial(redis.config_get, name))
        if reply is None:
            return None
        found |= {_text(key): _text(value) for key, value in reply.items()}
    return found


def _pairs(reply: Any) -> dict[str, str]:  # noqa: ANN401  # a map, or the same as a flat list
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {_OF_HELLO.get(_text(key), _text(key)): _text(value) for key, value in pairs}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def redis_findings(
    server: Server, url: str, refuse_at: float = _REFUSED_AT, *, is_of_stack: bool = False
) -> list[Finding]:
    """Return the findings about a server that answers.

    `is_of_stack`: `visionq up` started it on this machine, with settings of its own.
    """
    memory = partial(_memory, refuse_at=refuse_at, is_of_stack=is_of_stack)
    checks: dict[str, Callable[[str, Server], Finding]] = {
        "redis.version": _version,
        "redis.role": _role,
        "redis.mode": _mode,
        "redis.eviction": _eviction,
        "redis.persistence": _persistence,
        "redis.memory": memory,
        "redis.packing": _packing,
        "redis.latency": _latency,
        "redis.tls": lambda check, _: _encryption(check, url),
        "redis.clock": _clock,
    }
    return [judge(check, server) for check, judge in checks.items()]


def _version(check: str, server: Server) -> Finding:
    version, valkey = server.field("redis_version"), server.field("valkey_version")
    if version is None:
        return not_known(check, "the version is not reported", f"it must be 6.2 or newer: {_ASK}")
    name = "Valkey" if valkey or server.field("server") == "valkey" else "Redis"
    shown = f"{name} {valkey or version}"
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < _OLDEST:
        return problem(check, f"{shown} is too old", "use Redis 6.2 or newer, or Valkey")
    return ok(check, shown, version=version)


def _role(check: str, server: Server) -> Finding:
    role = server.field("role")
    if role is None:
        return not_known(
            check, "primary or replica: not reported", f"it must be the primary: {_ASK}"
        )
    if role in {"slave", "replica"}:
        advice = "put the address of the primary into VISIONQ_REDIS_URL"
        return problem(check, "this is a replica: it takes no jobs", advice, role=role)
    replicas = server.number("connected_slaves") or 0
    shown = f"primary with {replicas} replicas" if replicas else "primary"
    return ok(check, shown, role=role, replicas=replicas)


def _mode(check: str, server: Server) -> Finding:
    mode = server.field("redis_mode")
    if mode is None:
        return not_known(check, "cluster or not: not reported", f"it must be no cluster: {_ASK}")
    if mode == "cluster":
        advice = "use a server without cluster mode, with replicas if it must not fail"
        return problem(
            check, "this is a cluster, which the ledger's scripts can't use", advice, mode=mode
        )
    return ok(check, f"{mode}, no cluster", mode=mode)


def _eviction(check: str, server: Server) -> Finding:
    policy = server.field("maxmemory_policy", "maxmemory-policy")
    if policy is None:
        return not_known(
            check,
            "whether keys are evicted at the memory limit is not reported",
            "ask the provider for `maxmemory-policy noeviction`: else jobs vanish when it is full",
        )
    if policy == "noeviction":
        return ok(check, "noeviction: nothing vanishes at the memory limit", policy=policy)
    return problem(
        check,
        f"{policy}: at its memory limit Redis deletes jobs and answers",
        "set `maxmemory-policy noeviction` (CONFIG SET, redis.conf or the provider's panel)",
        policy=policy,
    )


#: `appendfsync` → what is lost with the host.
_LOSSES: Final = {
    "always": "nor does the loss of Redis or its host",
    "everysec": "the loss of the host, or of Redis at a slow disk, may lose the last second or two",
    "no": "the loss of the host may lose about the last half minute",
}


def _persistence(check: str, server: Server) -> Finding:
    appendonly, fsync = server.setting("appendonly"), server.setting("appendfsync")
    aof = server.field("aof_enabled") or (appendonly and str(int(appendonly == "yes")))
    if aof is None:
        return not_known(
            check,
            "whether Redis writes its data out is not reported",
            "ask the provider for AOF (`appendonly yes`) and its `appendfsync`",
        )
    if aof == "0":
        return _without_aof(check, server)
    if server.field("aof_last_write_status") == "err":
        advice = "look at the disk of the Redis host: full, or read-only"
        return problem(check, "the AOF can't be written, so Redis refuses jobs", advice)
    survives = "the death of a producer or worker loses nothing acknowledged"
    if fsync not in _LOSSES:
        message = (
            f"AOF: {survives}; what the loss of the host costs (`appendfsync`) is not reported"
        )
        return ok(check, message, aof=True, appendfsync=None)
    message = f"AOF, appendfsync {fsync}: {survives}, {_LOSSES[fsync]}"
    if fsync == "no":
        advice = "set `appendfsync everysec`, or `always` where each answer counts"
        return warning(check, message, advice, aof=True, appendfsync=fsync)
    return ok(check, message, aof=True, appendfsync=fsync)


def _without_aof(check: str, server: Server) -> Finding:
    advice = "set `appendonly yes` with `appendfsync everysec`"
    if server.number("connected_slaves"):
        message = "no AOF, but replicas: a failover may lose the latest jobs and paid answers"
        return warning(check, message, advice, aof=False)
    snapshots = server.setting("save")
    kept = "all since the last snapshot" if snapshots else "what no snapshot holds"
    if snapshots == "":
        kept = "everything"
    message = f"no AOF: when Redis ends, {kept} is lost, paid answers too"
    return problem(check, message, advice, aof=False)


def _memory(check: str, server: Server, *, refuse_at: float, is_of_stack: bool) -> Finding:
    used, limit = server.number("used_memory"), server.number("maxmemory", "maxmemory")
    if used is None or limit is None:
        return not_known(
            check,
            "memory used and its limit are not reported",
            f"jobs are refused at {refuse_at:.0%} of the limit, if `INFO` is allowed: {_ASK}",
        )
    figures: dict[str, Detail] = {"used_bytes": used, "limit_bytes": limit or None}
    if limit == 0 and is_of_stack:
        return _memory_of_host(check, used, server.number("total_system_memory"))
    if limit == 0:
        message = f"{_size(used)} used, and no limit: Redis can take the whole memory of its host"
        advice = "set `maxmemory` below what the host has, so that jobs are refused in time"
        return warning(check, message, advice, **figures)
    share = used / limit
    message = f"{_size(used)} of {_size(limit)} used ({share:.0%})"
    advice = "raise `maxmemory`, or shorten VISIONQ_RESULT_TTL"
    if share >= refuse_at:
        message += f": new jobs are refused from {refuse_at:.0%} on"
        return problem(check, message, advice, **figures)
    if share >= _WARNED_AT:
        message += f"; new jobs will be refused at {refuse_at:.0%}"
        return warning(check, message, advice, **figures)
    return ok(check, message, **figures)


def _memory_of_host(check: str, used: int, total: int | None) -> Finding:
    """Return which share of the machine's memory the Redis of `visionq up` takes: its limit."""
    figures: dict[str, Detail] = {"used_bytes": used, "limit_bytes": None, "host_bytes": total}
    message = f"{_size(used)} used; the Redis of `visionq up` is limited by this machine's memory"
    if total is None:
        return ok(check, message, **figures)
    message += f" ({_size(total)})"
    if used < total * _WARNED_AT:
        return ok(check, message, **figures)
    advice = "let jobs end, shorten VISIONQ_RESULT_TTL, or use a Redis with `maxmemory`"
    return warning(check, message, advice, **figures)


def _packing(check: str, server: Server) -> Finding:
    setting, wanted = (
        server.setting("hash-max-ziplist-value"),
        f"`hash-max-ziplist-value {_PACKED}`",
    )
    if setting is None:
        advice = f"ask the provider for {wanted}: else a queued job takes twice the memory"
        return not_known(check, "whether queued jobs are packed is not reported", advice)
    if (packed := int(setting)) >= _PACKED:
        return ok(check, "queued jobs are packed: about 550 bytes each", bytes=packed)
    return warning(
        check,
        f"fields over {packed} bytes are not packed: a queued job takes about 1,030 bytes, not 550",
        f"set {wanted} (`hash-max-listpack-value` in newer names; CONFIG SET, redis.conf or the"
        " provider's panel)",
        bytes=packed,
    )


def _size(count: int) -> str:
    return f"{count / _MEGABYTE:,.1f} MB"


def _latency(check: str, server: Server) -> Finding:
    seconds = round(server.latency, 6)
    message = f"{server.latency * 1000:.1f} ms, the median of 20 pings"
    if server.latency <= _SLOW:
        return ok(check, message, seconds=seconds)
    advice = "run workers and producers close to Redis: each job takes about ten round trips"
    return warning(check, message, advice, seconds=seconds)


def _encryption(check: str, url: str) -> Finding:
    parts = urlsplit(url)
    if parts.scheme == "rediss":
        return ok(check, "TLS", tls=True)
    if is_local(url):
        return ok(check, "no TLS, and none needed on this machine", tls=False)
    open_to_all = "" if parts.password else ", and no password is asked for"
    return warning(
        check,
        f"no TLS: anyone on the network sees pictures and answers{open_to_all}",
        "use `rediss://` and a password, or keep Redis in a network of its own",
        tls=False,
    )


def _clock(check: str, server: Server) -> Finding:
    ahead = server.clock_ahead
    if abs(ahead) <= _SKEW:
        message = "the clocks of Redis and this machine agree"
        return ok(check, message, ahead_seconds=round(ahead, 3))
    return warning(
        check,
        f"this machine is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} Redis",
        "let both follow NTP: leases go by Redis's clock, deadlines that people set by theirs",
        ahead_seconds=round(ahead, 3),
    )


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
