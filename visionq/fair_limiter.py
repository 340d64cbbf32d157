"""A bounded number of units in a process, shared fairly among tenants.

Once two tenants have asked, a tenant holds at most three units for each that stays free: alone in
its greed it holds three quarters, and several of the kind leave a part to the next to come. (The
dynamic threshold of switches, Choudhury and Hahne, 1998.) What is free goes to the waiting tenant
that holds least.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: Units that a tenant holds at most for each that is free.
TIMES_FREE: Final = 3
#: Seconds between two signs of life of a waiter.
_SIGN_EVERY: Final = 20.0


@dataclass(eq=False)
class Wait:
    """A waiter in line."""

    tenant: str
    amount: int
    #: What the amount is for, where that matters.
    owner: object = None
    admitted: threading.Event | asyncio.Event = field(default_factory=threading.Event)


class FairLimiter:
    """A number of units: places, connections, bytes. For threads, or for tasks of one loop."""

    def __init__(self, total: int, each: int | None = None) -> None:
        """Limit `total` units, of which a tenant holds at most `each`."""
        if total < 1:
            raise ValueError("at least one unit is needed")
        self.total = total
        self._each = each or total
        self._last: str | None = None  # the tenant that was served last
        self._used = 0
        self._held: Counter[str] = Counter()
        self._line: list[Wait] = []
        self._tenants: set[str] = set()  # the first two that came
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Return the number of waiters."""
        return len(self._line)

    def take(
        self,
        tenant: str,
        amount: int = 1,
        *,
        owner: object = None,
        timeout: float | None = None,
    ) -> bool:
        """Acquire units; return False after `timeout` seconds without them."""
        one = Wait(tenant, amount, owner, admitted := threading.Event())
        return self._enters(one) or admitted.wait(timeout) or not self._leaves(one)

    async def acquire(
        self,
        tenant: str,
        amount: int = 1,
        *,
        owner: object = None,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        """Acquire units in a task, without a limit of time.

        `waiting` is called now and then meanwhile.
        """
        one = Wait(tenant, amount, owner, admitted := asyncio.Event())
        if self._enters(one):
            return
        try:
            while not admitted.is_set():
                try:
                    async with asyncio.timeout(_SIGN_EVERY):
                        await admitted.wait()
                except TimeoutError:
                    waiting()
        except BaseException:
            if not self._leaves(one):
                self.give_back(tenant, amount)
            raise

    @asynccontextmanager
    async def lent(self, tenant: str, amount: int = 1) -> AsyncIterator[None]:
        """Hold units in a task, waiting without limit."""
        await self.acquire(tenant, amount)
        try:
            yield
        finally:
            self.give_back(tenant, amount)

    def _enters(self, one: Wait) -> bool:
        """Admit a caller, or queue it."""
        with self._lock:
            if len(self._tenants) < 2:  # noqa: PLR2004  # it is known by then that there are others
                self._tenants.add(one.tenant)
            if self._admits(one):
                self._admit(one)
                return True
            self._line.append(one)
            return False

    def _leaves(self, one: Wait) -> bool:
        """Remove a waiter from the line; return False if it was admitted before."""
        with self._lock:
            if one not in self._line:
                return False
            self._line.remove(one)
            return True

    def give_back(self, tenant: str, amount: int = 1) -> None:
        """Release units, for those who wait."""
        with self._lock:
            self._release(tenant, amount)
            self._serve()

    def _release(self, tenant: str, amount: int) -> None:
        self._used -= amount
        self._held[tenant] -= amount
        if not self._held[tenant]:
            del self._held[tenant]

    def _admits(self, one: Wait) -> bool:
        left, held = self.total - self._used - one.amount, self._held[one.tenant] + one.amount
        if left < 0 or held > self._each:
            return False
        return len(self._tenants) == 1 or held <= TIMES_FREE * (left + 1)

    def _admit(self, one: Wait) -> None:
        self._used += one.amount
        self._held[one.tenant] += one.amount
        self._last = one.tenant

    def _serve(self) -> None:
        """Admit waiters: first of the tenant that holds least, then by arrival."""
        while fitting := [one for one in self._line if self._admits(one)]:
            one = min(
                fitting, key=lambda wait: (self._held[wait.tenant], wait.tenant == self._last)
            )
            self._line.remove(one)
            self._admit(one)
            one.admitted.set()
