"""Amounts of rubles as people write and read them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import click


class Amount(click.ParamType[Decimal]):
    """Rubles as people write them: `1500`, `0.5`."""

    name = "RUB"

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Decimal:
        """Return the amount; what is none ends the command."""
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite():
            self.fail(f"{value!r} is no amount of rubles, as 1500 or 0.5", param, ctx)
        return amount


def plain(amount: Decimal | None) -> str | None:
    """Return an amount as a decimal string."""
    return None if amount is None else format(amount.normalize(), "f")
