"""How many bytes of pictures and requests a process holds at once, whatever its concurrency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionq.fair_limiter import FairLimiter, Wait

if TYPE_CHECKING:
    from collections.abc import Callable


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

    def share(self, tenant: str = "") -> MemoryReservation:
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

    def _hold(
        self,
        share: MemoryReservation,
        wanted: int,
        waiting: Callable[[], None],
        timeout: float | None,
    ) -> bool:
        more, tenant = wanted - share.held, share.tenant
        if more > 0 and self._beyond is not share:
            has = self.take(tenant, more, owner=share, waiting=waiting, timeout=timeout)
            share.held = wanted if has else share.held
            return has
        with self._lock:
            if self._beyond is not share:
                self._release(tenant, -more)
            elif not wanted or super()._admits(Wait(tenant, wanted)):
                self._beyond = None
                self._release(tenant, -wanted)
            share.held = wanted
            self._serve()
        return True


class MemoryReservation:
    """The bytes that one job holds. Used by one thread."""

    def __init__(self, budget: MemoryLimiter, tenant: str) -> None:
        self._budget = budget
        self.tenant = tenant
        self.held = 0

    def hold(self, wanted: int, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Hold so many bytes from now on, more or fewer than before; wait until there are.

        `waiting` is called now and then meanwhile.
        """
        self._budget._hold(self, wanted, waiting, None)  # noqa: SLF001  # two halves of one thing

    def adds_at_once(self, more: int) -> bool:
        """Hold so many bytes more if there are."""
        return self._budget._hold(self, self.held + more, lambda: None, 0)  # noqa: SLF001  # likewise

    def add(self, more: int, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Hold so many bytes more."""
        self.hold(self.held + more, waiting=waiting)
