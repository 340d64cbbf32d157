"""Work that takes a while: beside the loop, a few at a time, in turn by tenant."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from visionq.fair_limiter import FairLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Turns:
    """Threads for one kind of work."""

    def __init__(self, name: str, threads: int) -> None:
        """Do so many pieces of it at a time."""
        self._threads = ThreadPoolExecutor(threads, name)
        self._shares = FairLimiter(threads)

    async def run(self, tenant: str, act: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401  # whatever it takes
        """Do a piece of it, in the tenant's turn."""
        async with self._shares.lent(tenant):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(act, *arguments))

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(cancel_futures=True)
