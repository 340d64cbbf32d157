"""What a Redis server tells of itself, asked so that a refusal is an answer too.

Managed services refuse or rename `CONFIG`, and some `INFO`. What one command does not tell is taken
from another where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis import Redis

_PINGS: Final = 20
#: The last one has a new name since Redis 7.0 and its old one everywhere, Valkey included.
_SETTINGS: Final = (
    "maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save", "hash-max-ziplist-value",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Server:
    """Everything that the checks ask for; None is what the server did not tell."""

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

    def told(self, name: str, setting: str | None = None) -> str | None:
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
        told = self.told(name, setting)
        return int(told) if told is not None and told.isdecimal() else None


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
    return Server(
        info=_asked(redis.info),
        config=_config(redis),
        hello=_hello(redis),
        latency=median(pings),
        clock_ahead=ahead,
    )


def _hello(redis: Redis) -> dict[str, str]:
    command = partial(redis.execute_command, "HELLO")
    return _pairs(_asked(command) or {})


def _asked(command: Callable[[], Any]) -> Any:  # noqa: ANN401  # what the command replies
    """Return the reply, or None if the server refuses the command or does not know it."""
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
    # `HELLO` says `version` and `mode` where `INFO` says `redis_version` and `redis_mode`.
    names = {"version": "redis_version", "mode": "redis_mode"}
    texts = {_text(key): _text(value) for key, value in pairs}
    return {names.get(key, key): value for key, value in texts.items()}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
