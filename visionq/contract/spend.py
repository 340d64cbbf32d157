"""Totals of the ledger's books."""

from __future__ import annotations

from decimal import Decimal

from visionq.contract.base import Document, Rubles


class Spend(Document):
    """Rubles, by what is known about them."""

    #: Taken for calls that are out.
    reserved_rub: Rubles = Decimal(0)
    #: Paid, by the provider's own count of tokens.
    settled_rub: Rubles = Decimal(0)
    #: The most that calls of unknown billing may have cost.
    unknown_rub: Rubles = Decimal(0)
    #: What reused answers did not cost.
    saved_rub: Rubles = Decimal(0)
    unknown_calls: int = 0
    #: Jobs that an emptied Redis had lost and their owner submitted again: a call that was out
    #: at that moment is paid twice, and in no book.
    forgotten_jobs: int = 0
    #: Paid since midnight, in the time zone of the settings.
    today_rub: Rubles = Decimal(0)
