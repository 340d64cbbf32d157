"""A ledger that takes the common way and the full one, and compares where they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.support.worker_ledger import WorkerLedger
from visionq.ledger.scripts import OTHER, Call

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from redis import Redis

T = TypeVar("T")
#: Milliseconds between what two runs of a script may leave of the time that a key has.
_LEEWAY = 5000
Contents = dict[bytes, tuple[Any, int]]


class ComparingLedger(WorkerLedger):
    """Makes each call with a short script twice, if that takes it."""

    #: Script and whether it took the call → how often.
    taken: Counter[tuple[str, bool]]

    def make(self, call: Call[T]) -> T:
        if call.otherwise is None:
            return super().make(call)
        start, before = _dump(self.redis), contents(self.redis)
        reply = self._reply(call)
        common = contents(self.redis)
        self.taken[call.script, reply != OTHER] += 1
        if reply == OTHER:
            _compare(common, before, f"{call.script} has written something")
            return super().make(call.otherwise())
        _restore(self.redis, start)
        assert self._reply(call.otherwise()) == reply
        _compare(common, contents(self.redis), f"{call.script} did otherwise")
        return call.read(reply)

    def _reply(self, call: Call[T]) -> Any:
        moment = "" if self._clock is None else round(self._clock() * 1000)
        return self._scripts[call.script](args=(moment, *call.arguments))


def contents(redis: Redis) -> Contents:
    """Return what each key holds, and for how many milliseconds."""
    keys = _keys(redis)
    kinds = _each(redis, keys, lambda pipeline, key: pipeline.type(key))
    kind_of = dict(zip(keys, kinds, strict=True))
    values = _each(redis, keys, lambda pipeline, key: _READERS[kind_of[key]](pipeline, key))
    left = _each(redis, keys, lambda pipeline, key: pipeline.pttl(key))
    shown = [
        [fields for _, fields in value] if kind == b"stream" else value  # ids are of the wall clock
        for kind, value in zip(kinds, values, strict=True)
    ]
    return dict(zip(keys, zip(shown, left, strict=True), strict=True))


_READERS: Final[dict[bytes, Callable[[Any, bytes], Any]]] = {
    b"hash": lambda pipeline, key: pipeline.hgetall(key),
    b"zset": lambda pipeline, key: pipeline.zrange(key, 0, -1, withscores=True),
    b"list": lambda pipeline, key: pipeline.lrange(key, 0, -1),
    b"set": lambda pipeline, key: pipeline.smembers(key),
    b"stream": lambda pipeline, key: pipeline.xrange(key),
    b"string": lambda pipeline, key: pipeline.get(key),
}


def _keys(redis: Redis) -> list[bytes]:
    keys: Any = redis.keys("*")
    return sorted(keys)


def _each(redis: Redis, keys: list[bytes], ask: Callable[[Any, bytes], Any]) -> list[Any]:
    with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            ask(pipeline, key)
        return pipeline.execute()


def _compare(common: Contents, full: Contents, fault: str) -> None:
    assert {key: value for key, (value, _) in common.items()} == {
        key: value for key, (value, _) in full.items()
    }, fault
    for key, (_, left) in common.items():
        assert abs(left - full[key][1]) < _LEEWAY, (fault, key)


def _dump(redis: Redis) -> list[tuple[bytes, bytes, int]]:
    keys = _keys(redis)
    values = _each(redis, keys, lambda pipeline, key: pipeline.dump(key))
    left = _each(redis, keys, lambda pipeline, key: pipeline.pttl(key))
    return list(zip(keys, values, (max(0, one) for one in left), strict=True))


def _restore(redis: Redis, start: list[tuple[bytes, bytes, int]]) -> None:
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.flushdb()
        for key, value, left in start:
            pipeline.restore(key, left, value)
        pipeline.execute()
