"""Answers to pictures that look alike: an index of perceptual hashes in Redis.

For each question a string of records that only grows, and expires with the answers. A worker reads
what is new and searches its own copy. Losing a record costs no more than a call.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from visionq.images.perceptual_hash import HashIndex, PerceptualHash
from visionq.names import ANSWER, LEADER, NEAR_HASHES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis.asyncio import Redis as AsyncRedis

#: The bits of a hash, its colours, and the cache key of its picture.
_RECORD: Final = struct.Struct(">Q48s32s")
#: Pictures of one question in one period that can be found.
MOST_HASHES: Final = 20_000
#: Questions of which a process keeps a copy.
_MOST_COPIES: Final = 8
#: Nearest pictures whose answers are looked for.
_MOST_CANDIDATES: Final = 32


@dataclass(frozen=True, slots=True)
class NearPicture:
    """A picture that looks like the job's own, by the cache key of the same question about it."""

    cache_key: str
    distance: int


@dataclass(frozen=True, slots=True)
class NearMatch:
    """The nearest picture, its answer if there is one, and whether a call for it is out."""

    picture: NearPicture
    answer: str | None = None
    is_asked: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """What `find` found, and how far it had read of the string that takes the picture."""

    match: NearMatch | None
    key: str
    read: int


@dataclass
class _Copy:
    """What a process has read of one string."""

    index: HashIndex = field(default_factory=HashIndex)
    keys: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.keys) * _RECORD.size

    def take(self, start: int, records: bytes) -> None:
        """Add records that begin at `start`, except those that are known."""
        known = records[self.size - start :] if start <= self.size else b""
        whole = len(known) - len(known) % _RECORD.size
        for bits, colours, key in _RECORD.iter_unpack(known[:whole]):
            self.index.add(PerceptualHash(bits, colours))
            self.keys.append(key.hex())

    def near(self, own: NearPicture, wanted: PerceptualHash, places: range) -> list[NearPicture]:
        """Return pictures in `places` as near to `wanted` as `own` says, but not that one."""
        return [
            NearPicture(self.keys[place], distance)
            for distance, place in self.index.near(wanted, own.distance)
            if place in places and self.keys[place] != own.cache_key
        ]


class NearAnswers:
    """Finds the answer of the nearest picture; `ttl`: seconds for which answers are kept."""

    def __init__(self, redis: AsyncRedis, ttl: int, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._ttl = ttl
        self._clock = clock
        self._copies: OrderedDict[str, _Copy] = OrderedDict()

    async def find(self, question: str, own: NearPicture, wanted: PerceptualHash) -> Search:
        """Find the nearest picture with an answer, else one whose call is out, else any.

        `own` is the picture that is asked about, and how far another may be from it.
        """
        found: list[NearPicture] = []
        current, before = self._keys(question)
        read = 0
        for key in (before, current):
            await self._read(key)
            copy = self._copy(key)
            read = len(copy.keys)
            found += copy.near(own, wanted, range(read))
        match = await self._best(sorted(found, key=lambda one: one.distance))
        return Search(match, current, read)

    async def enter(
        self, search: Search, own: NearPicture, wanted: PerceptualHash
    ) -> NearMatch | None:
        """Add the picture; return a near one that was added since the search.

        Of two that are added at once, the second alone sees the other.
        """
        key = search.key
        if search.read >= MOST_HASHES or self._ttl <= 0:
            return None
        record = _RECORD.pack(wanted.bits, wanted.colours, bytes.fromhex(own.cache_key))
        size = await self._redis.append(key, record)
        await self._redis.expire(key, 2 * self._ttl)  # also where one died before it did so
        place = size // _RECORD.size - 1
        if place <= search.read:
            return None
        await self._read(key)
        return await self._best(self._copy(key).near(own, wanted, range(search.read, place)))

    async def _bytes(self, key: str, first: int, end: int) -> bytes:
        stored: Any = await self._redis.getrange(key, first * _RECORD.size, end * _RECORD.size - 1)
        return bytes(stored)

    async def _read(self, key: str) -> None:
        copy, size = self._copy(key), await self._redis.strlen(key)
        if size < copy.size:  # Redis was emptied
            copy = self._copies[key] = _Copy()
        if size > copy.size:
            known = len(copy.keys)
            between = await self._bytes(key, known, size // _RECORD.size)
            copy.take(known * _RECORD.size, between)

    async def _best(self, pictures: Iterable[NearPicture]) -> NearMatch | None:
        unique = list({one.cache_key: one for one in pictures}.values())[:_MOST_CANDIDATES]
        if not unique:
            return None
        answers: list[Any] = await self._redis.mget([ANSWER + one.cache_key for one in unique])
        for one, answer in zip(unique, answers, strict=True):
            if answer is not None:
                return NearMatch(one, answer.decode())
        leaders = await self._redis.mget([LEADER + one.cache_key for one in unique])
        for one, leader in zip(unique, leaders, strict=True):
            if leader is not None:
                return NearMatch(one, is_asked=True)
        return NearMatch(unique[0])

    def _keys(self, question: str) -> tuple[str, str]:
        """Return the strings of this period and of the one before."""
        period = int(self._clock() // max(1, self._ttl))
        return f"{NEAR_HASHES}{question}:{period}", f"{NEAR_HASHES}{question}:{period - 1}"

    def _copy(self, key: str) -> _Copy:
        copy = self._copies.setdefault(key, _Copy())
        self._copies.move_to_end(key)
        if len(self._copies) > 2 * _MOST_COPIES:
            self._copies.popitem(last=False)
        return copy
