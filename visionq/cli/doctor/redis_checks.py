"""What visionq needs of its Redis: a writable server that keeps what it has acknowledged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from visionq.cli.doctor.addresses import is_local
from visionq.cli.doctor.findings import Detail, Finding, not_known, ok, problem, warning

if TYPE_CHECKING:
    from visionq.cli.doctor.server import Server

_OLDEST: Final = (6, 2)
#: Submission is refused at this share of `maxmemory`; people are told a little earlier.
_REFUSED_AT: Final = 0.85
_WARNED_AT: Final = 0.7
#: Seconds. A job takes about ten round trips.
_SLOW: Final = 0.02
_SKEW: Final = 2.0
_MEGABYTE: Final = 1_000_000
#: Bytes of a field up to which Redis packs the hash of a job; a usual job's document is below it.
_PACKED: Final = 1024

_ASK: Final = "ask the provider of this Redis, or allow `INFO` to this user"


def redis_findings(
    server: Server, url: str, refuse_at: float = _REFUSED_AT, *, is_of_stack: bool = False
) -> list[Finding]:
    """Return what is to be said about a server that answers.

    `is_of_stack`: `visionq up` has started it on this machine, and nobody else has set it up.
    """
    return [
        _version(server),
        _role(server),
        _mode(server),
        _eviction(server),
        _persistence(server),
        _memory(server, refuse_at, is_of_stack=is_of_stack),
        _packing(server),
        _latency(server),
        _encryption(url),
        _clock(server),
    ]


def _version(server: Server) -> Finding:
    check, version = "redis.version", server.told("redis_version")
    if version is None:
        return not_known(check, "the version is not told", f"it must be 6.2 or newer: {_ASK}")
    name = (
        "Valkey" if server.told("valkey_version") or server.told("server") == "valkey" else "Redis"
    )
    shown = f"{name} {server.told('valkey_version') or version}"
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < _OLDEST:
        return problem(check, f"{shown} is too old", "use Redis 6.2 or newer, or Valkey")
    return ok(check, shown, version=version)


def _role(server: Server) -> Finding:
    check, role = "redis.role", server.told("role")
    if role is None:
        return not_known(check, "primary or replica: not told", f"it must be the primary: {_ASK}")
    if role in {"slave", "replica"}:
        return problem(
            check,
            "this is a replica: it takes no jobs",
            "put the address of the primary into VISIONQ_REDIS_URL",
            role=role,
        )
    replicas = server.number("connected_slaves") or 0
    told = f"primary with {replicas} replicas" if replicas else "primary"
    return ok(check, told, role=role, replicas=replicas)


def _mode(server: Server) -> Finding:
    check, mode = "redis.mode", server.told("redis_mode")
    if mode is None:
        return not_known(check, "cluster or not: not told", f"it must be no cluster: {_ASK}")
    if mode == "cluster":
        return problem(
            check,
            "this is a cluster, which the ledger's scripts can't use",
            "use a server without cluster mode, with replicas if it must not fail",
            mode=mode,
        )
    return ok(check, f"{mode}, no cluster", mode=mode)


def _eviction(server: Server) -> Finding:
    check, policy = "redis.eviction", server.told("maxmemory_policy", "maxmemory-policy")
    if policy is None:
        return not_known(
            check,
            "whether keys are evicted at the memory limit is not told",
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


def _persistence(server: Server) -> Finding:
    check = "redis.persistence"
    aof = server.told("aof_enabled") or _as_digit(server.setting("appendonly"))
    if aof is None:
        return not_known(
            check,
            "whether Redis writes its data out is not told",
            "ask the provider for AOF (`appendonly yes`) and its `appendfsync`",
        )
    if aof == "0":
        return _without_aof(server)
    if server.told("aof_last_write_status") == "err":
        return problem(
            check,
            "the AOF can't be written, so Redis refuses jobs",
            "look at the disk of the Redis host: full, or read-only",
        )
    return _with_aof(server.setting("appendfsync"))


def _as_digit(word: str | None) -> str | None:
    return None if word is None else str(int(word == "yes"))


def _with_aof(fsync: str | None) -> Finding:
    check = "redis.persistence"
    survives = "the death of a producer or worker loses nothing acknowledged"
    losses = {
        "always": "nor does the loss of Redis or its host",
        "everysec": "the loss of the host, or of Redis at a slow disk,"
        " may lose the last second or two",
        "no": "the loss of the host may lose about the last half minute",
    }
    if fsync not in losses:
        return ok(
            check,
            f"AOF: {survives}; what the loss of the host costs (`appendfsync`) is not told",
            aof=True,
            appendfsync=None,
        )
    message = f"AOF, appendfsync {fsync}: {survives}, {losses[fsync]}"
    if fsync == "no":
        advice = "set `appendfsync everysec`, or `always` where each answer counts"
        return warning(check, message, advice, aof=True, appendfsync=fsync)
    return ok(check, message, aof=True, appendfsync=fsync)


def _without_aof(server: Server) -> Finding:
    check, advice = "redis.persistence", "set `appendonly yes` with `appendfsync everysec`"
    if server.number("connected_slaves"):
        return warning(
            check,
            "no AOF, but replicas: a failover may lose the latest jobs and paid answers",
            advice,
            aof=False,
        )
    snapshots = server.setting("save")
    kept = "all since the last snapshot" if snapshots else "what no snapshot holds"
    if snapshots == "":
        kept = "everything"
    return problem(
        check,
        f"no AOF: when Redis ends, {kept} is lost, paid answers too",
        advice,
        aof=False,
    )


def _memory(server: Server, refuse_at: float, *, is_of_stack: bool) -> Finding:
    check = "redis.memory"
    used, limit = server.number("used_memory"), server.number("maxmemory", "maxmemory")
    if used is None or limit is None:
        return not_known(
            check,
            "memory used and its limit are not told",
            f"jobs are refused at {refuse_at:.0%} of the limit, if `INFO` is allowed: {_ASK}",
        )
    figures: dict[str, Detail] = {"used_bytes": used, "limit_bytes": limit or None}
    if limit == 0 and is_of_stack:
        return _memory_of_host(server, used)
    if limit == 0:
        return warning(
            check,
            f"{_size(used)} used, and no limit: Redis can take the whole memory of its host",
            "set `maxmemory` below what the host has, so that jobs are refused in time",
            **figures,
        )
    share = used / limit
    message = f"{_size(used)} of {_size(limit)} used ({share:.0%})"
    advice = "raise `maxmemory`, or shorten VISIONQ_RESULT_TTL"
    if share >= refuse_at:
        return problem(
            check, f"{message}: new jobs are refused from {refuse_at:.0%} on", advice, **figures
        )
    if share >= _WARNED_AT:
        return warning(
            check, f"{message}; new jobs will be refused at {refuse_at:.0%}", advice, **figures
        )
    return ok(check, message, **figures)


def _memory_of_host(server: Server, used: int) -> Finding:
    """Tell how much of the machine's memory the Redis of `visionq up` takes: that is its limit."""
    check, total = "redis.memory", server.number("total_system_memory")
    figures: dict[str, Detail] = {"used_bytes": used, "limit_bytes": None, "host_bytes": total}
    message = (
        f"{_size(used)} used; the Redis of `visionq up` has no limit but this machine's memory"
    )
    if total is None:
        return ok(check, message, **figures)
    message += f" ({_size(total)})"
    if used < total * _WARNED_AT:
        return ok(check, message, **figures)
    advice = "let jobs end, shorten VISIONQ_RESULT_TTL, or use a Redis with `maxmemory`"
    return warning(check, message, advice, **figures)


def _packing(server: Server) -> Finding:
    check, told = "redis.packing", server.setting("hash-max-ziplist-value")
    wanted = f"`hash-max-ziplist-value {_PACKED}`"
    if told is None:
        return not_known(
            check,
            "whether queued jobs are packed is not told",
            f"ask the provider for {wanted}: else a queued job takes twice the memory",
        )
    if (packed := int(told)) >= _PACKED:
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


def _latency(server: Server) -> Finding:
    check, message = "redis.latency", f"{server.latency * 1000:.1f} ms, the median of 20 pings"
    if server.latency <= _SLOW:
        return ok(check, message, seconds=round(server.latency, 6))
    advice = "run workers and producers close to Redis: each job takes about ten round trips"
    return warning(check, message, advice, seconds=round(server.latency, 6))


def _encryption(url: str) -> Finding:
    check, parts = "redis.tls", urlsplit(url)
    if parts.scheme == "rediss":
        return ok(check, "TLS", tls=True)
    if is_local(url):
        return ok(check, "no TLS, and none needed on this machine", tls=False)
    open_to_all = "" if parts.password else ", and no password is asked for"
    return warning(
        check,
        f"no TLS: whoever sees the network sees pictures and answers{open_to_all}",
        "use `rediss://` and a password, or keep Redis in a network of its own",
        tls=False,
    )


def _clock(server: Server) -> Finding:
    check, ahead = "redis.clock", server.clock_ahead
    if abs(ahead) <= _SKEW:
        return ok(
            check, "the clocks of Redis and this machine agree", ahead_seconds=round(ahead, 3)
        )
    message = f"this machine is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} Redis"
    return warning(
        check,
        message,
        "let both follow NTP: leases go by Redis's clock, deadlines that people set by theirs",
        ahead_seconds=round(ahead, 3),
    )
