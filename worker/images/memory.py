"""Limit the memory of pictures: estimate each, and the total of a process.

The need of a picture is known from its container before any of it is decoded.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from visionq.errors import TooManyPixels
from visionq.fair_limiter import FairLimiter, Wait
from worker.images.scale import JPEG_EIGHTHS, jpeg_eighths

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from worker.images.layout import CheckedImage

T = TypeVar("T")


@dataclass(frozen=True)
class DecodePlan:
    """The target size, upright, and warnings about it."""

    size: tuple[int, int]
    warnings: tuple[str, ...] = ()


def affordable(
    checked: CheckedImage, target: tuple[int, int] | None, *, name: str, max_bytes: int
) -> DecodePlan:
    """Return the size that can be made within `max_bytes` of memory; None: decode only.

    A JPEG that is too big at the size wanted is made smaller, since it can be decoded so.

    Raises:
        TooManyPixels: there is no way within the limit.
    """
    layout = checked.layout
    size = (checked.width, checked.height)
    is_jpeg = checked.format == "jpeg"
    if target is None:
        needed = layout.memory(eighths=1 if is_jpeg else 8)
        if needed > max_bytes:
            raise _too_big(needed, max_bytes, name)
        return DecodePlan(size)
    most = jpeg_eighths(size, target)
    for eighths in [one for one in JPEG_EIGHTHS if one <= most] if is_jpeg else [8]:
        width, height = (
            max(1, min(side, own * eighths // 8)) for side, own in zip(target, size, strict=True)
        )
        needed = layout.memory(eighths=eighths, sent_pixels=width * height)
        if needed <= max_bytes:
            if (width, height) == target:
                return DecodePlan(target)
            warning = f"scaled down to {width}x{height}: more would need too much memory"
            return DecodePlan((width, height), (warning,))
    raise _too_big(needed, max_bytes, name)


def _too_big(needed: int, max_bytes: int, name: str) -> TooManyPixels:
    message = (
        f"its pixels take {needed // 1_000_000:,} MB of memory, "
        f"the limit is {max_bytes // 1_000_000:,}; scale it down"
    )
    return TooManyPixels(message, image=name)


class MemoryLimiter(FairLimiter):
    """A number of bytes that jobs share; who needs more than is left waits.

    One job at a time may go beyond: it never waits, so it comes to its end and gives everything
    back. Hence no two jobs can wait for each other. Its bytes are not counted among those of the
    others, who would else wait for its end.
    """

    _beyond: MemoryReservation | None = None  # the job that may go beyond

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self._used + (self._beyond.held if self._beyond else 0)

    def reservation(self, tenant: str = "") -> MemoryReservation:
        """Return a share of nothing yet."""
        return MemoryReservation(self, tenant)

    def _admits(self, one: Wait) -> bool:
        return self._beyond is None or super()._admits(one)

    def _admit(self, one: Wait) -> None:
        assert isinstance(one.owner, MemoryReservation)  # noqa: S101  # shares alone ask
        if super()._admits(one):
            super()._admit(one)
            return
        self._beyond = one.owner
        self._release(one.tenant, one.owner.held)

    def _changes(self, share: MemoryReservation, wanted: int) -> None:
        """Change a reservation: to less, or to any amount if it may exceed the limit."""
        with self._lock:
            if self._beyond is not share:
                self._release(share.tenant, share.held - wanted)
            elif not wanted or super()._admits(Wait(share.tenant, wanted)):
                self._beyond = None
                self._release(share.tenant, -wanted)
            share.held = wanted
            self._serve()

    def _needs_admission(self, share: MemoryReservation, wanted: int) -> bool:
        return wanted > share.held and self._beyond is not share


class MemoryReservation:
    """The bytes that one job holds. Used by one task."""

    def __init__(self, budget: MemoryLimiter, tenant: str) -> None:
        self._budget = budget
        self.tenant = tenant
        self.held = 0

    async def hold(self, wanted: int, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Hold `wanted` bytes instead of the present ones; wait until they are free.

        `waiting` is called now and then meanwhile.
        """
        budget = self._budget
        if budget._needs_admission(self, wanted):  # noqa: SLF001  # two halves of one thing
            await budget.acquire(self.tenant, wanted - self.held, owner=self, waiting=waiting)
            self.held = wanted
        else:
            budget._changes(self, wanted)  # noqa: SLF001  # likewise

    def release(self) -> None:
        """Hold nothing any more."""
        self._budget._changes(self, 0)  # noqa: SLF001  # two halves of one thing

    def adds_at_once(self, more: int) -> bool:
        """Hold more bytes if they are free now; return whether they were."""
        budget, wanted = self._budget, self.held + more
        if not budget._needs_admission(self, wanted):  # noqa: SLF001  # likewise
            budget._changes(self, wanted)  # noqa: SLF001  # likewise
        elif budget.take(self.tenant, more, owner=self, timeout=0):
            self.held = wanted
        else:
            return False
        return True

    async def add(self, more: int, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Hold more bytes."""
        await self.hold(self.held + more, waiting=waiting)


#: One decodes while the others fetch what comes next; more would hold originals and wait. Enough
#: for small pictures from an object store, where fetching takes longer than anything else.
PREPARE_SLOTS: Final = 6


class PrepareSlots:
    """A number of places that jobs share."""

    def __init__(self, count: int = PREPARE_SLOTS) -> None:
        """Make `count` places; a tenant takes all but one."""
        self._shares = FairLimiter(count, each=max(1, count - 1))

    def slot(self, tenant: str) -> PrepareSlot:
        """Return a place that is not taken yet."""
        return PrepareSlot(self._shares, tenant)


class PrepareSlot:
    """The place of one job. Used by one task.

    Take it before any share of memory: who waits for a place holds nothing that others wait for.
    """

    def __init__(self, shares: FairLimiter, tenant: str) -> None:
        self._shares = shares
        self._tenant = tenant
        self._taken = False

    async def take(self, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait until a place is free; `waiting` is called now and then meanwhile."""
        if not self._taken:
            await self._shares.acquire(self._tenant, waiting=waiting)
            self._taken = True

    def leave(self) -> None:
        """Release the slot, if it was taken."""
        if self._taken:
            self._taken = False
            self._shares.give_back(self._tenant)


#: Pixels of a picture that does not wait for large ones: tens of milliseconds, megabytes.
SMALL_PIXELS: Final = 2_000_000
#: Small pictures at once, of a tenant one.
_SMALL_SLOTS: Final = 2


class DecodeSlots:
    """Places for work on pixels, with a thread each: for large pictures, and for small ones.

    Decoding releases the GIL, so as many slots as cores keep the machine busy, and more would only
    cost memory. Small pictures have slots of their own since a large one may take seconds: the
    system lets both go on at once. Don't nest: a task that holds the last slot would wait for
    itself.
    """

    def __init__(self, count: int) -> None:
        """Make `count` slots for large pictures, at least one."""
        self._large = FairLimiter(count)
        self._small = FairLimiter(_SMALL_SLOTS, each=1)
        self._threads = ThreadPoolExecutor(count + _SMALL_SLOTS, "visionq-decode")

    def held(self, tenant: str, pixels: int | None = None) -> AbstractAsyncContextManager[None]:
        """Hold a slot for a picture, waiting until one is free.

        None: it is not known how many, so they may be many.
        """
        is_small = pixels is not None and pixels <= SMALL_PIXELS
        return (self._small if is_small else self._large).lent(tenant)

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread, while a slot is held."""
        loop, context = asyncio.get_running_loop(), copy_context()
        return await loop.run_in_executor(self._threads, context.run, work)

    def close(self) -> None:
        """End the threads, which nobody waits for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
