"""`--max-rub`: what all rows of OUT together may cost, held by the ledger at every single call."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from visionq.ledger import BudgetScope
from visionq.names import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from visionq.ledger import Ledger

#: Field of the batch: rubles that OUT had cost when the ledger's book of this run began.
_PAID_BEFORE: Final = "paid_before"


@dataclass
class RunBudget:
    """The batch of a run has a budget in the ledger: the limit, less what its book can't know of.

    The book knows every call of the run since the batch began, also those whose rows are not in
    OUT yet. What OUT had cost before that is kept with the batch, so that it goes when the book
    goes: with an emptied Redis, or when the batch has expired.
    """

    ledger: Ledger
    redis: Redis
    run: str
    limit: Decimal | None
    #: Returns the rubles that the rows of OUT cost.
    paid: Callable[[], Decimal]

    def begin(self) -> None:
        """Set the budget, or lift that of an earlier beginning."""
        before = self._paid_before()
        if self.limit is not None:
            self._set(self.limit, before)
        elif self.ledger.book(self._scope).limit_rub is not None:
            self.ledger.set_budget(self._scope, None)

    def ensure(self) -> None:
        """Set it again if Redis has lost it."""
        if not self.redis.hexists(BATCH + self.run, _PAID_BEFORE):
            self.begin()

    @property
    def _scope(self) -> BudgetScope:
        return BudgetScope.batch(self.run)

    def _set(self, limit: Decimal, before: Decimal) -> None:
        self.ledger.set_budget(self._scope, max(Decimal(0), limit - before))

    def _paid_before(self) -> Decimal:
        """Return what OUT had cost when the batch began; noted when it is asked first."""
        batch = BATCH + self.run
        stored: Any = self.redis.hget(batch, _PAID_BEFORE)
        if stored is not None:
            return Decimal(stored.decode())
        before = self.paid()
        is_new = not self.redis.exists(batch)
        self.redis.hset(batch, _PAID_BEFORE, str(before))
        if is_new:
            self.redis.expire(batch, self.ledger.options.result_ttl)  # until its first job comes
        return before
