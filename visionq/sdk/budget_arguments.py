"""Check names and amounts of budgets, for the clients and `visionq budget`."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from visionq.contract.base import TenantName
from visionq.errors import InvalidJob
from visionq.ledger import BudgetScope, Period
from visionq.sdk.arguments import shown
from visionq.submission import check_batch_name

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Rubles; no floats, which are not exact.
Rubles = Decimal | int | str

_TENANT_NAME: Final[TypeAdapter[str]] = TypeAdapter(TenantName)


def scope_of(
    tenant: str | None, batch: str | None, period: Period, dashes: str = ""
) -> BudgetScope:
    """Return the named scope; `dashes` go before option names in messages.

    Raises:
        ValueError: neither or both are named, or the name or period is invalid.
    """
    if (tenant is None) == (batch is None):
        raise ValueError(f"name either {dashes}tenant or {dashes}batch")
    if batch is not None:
        if period is not Period.TOTAL:
            raise ValueError(f"a batch has one budget: {dashes}total")
        _check_batch(batch, f"{dashes}batch")
        return BudgetScope.batch(batch)
    try:
        return BudgetScope.tenant(tenant_name(tenant or ""), period)
    except ValueError as error:
        raise ValueError(f"{dashes}tenant: {error}") from None


def tenant_name(name: str) -> str:
    """Return the name of a tenant.

    Raises:
        ValueError: no tenant can have this name.
    """
    try:
        return _TENANT_NAME.validate_python(name)
    except ValidationError:
        raise ValueError(
            f"{name!a} is not a tenant's name: 1 to 64 letters, digits, dots, dashes and _"
        ) from None


def limits_of(
    tenant: str | None, batch: str | None, limits: Mapping[Period, Rubles | None], dashes: str = ""
) -> dict[BudgetScope, Decimal]:
    """Return scope → limit for the periods with an amount.

    Raises:
        ValueError: as `scope_of`, an amount is malformed, or there is none at all.
        TypeError: the type of an amount is not exact.
    """
    given = {period: amount for period, amount in limits.items() if amount is not None}
    if not given:
        raise ValueError(f"say how many rubles: {dashes}total, {dashes}day or {dashes}month")
    return {
        scope_of(tenant, batch, period, dashes): _amount(period, amount)
        for period, amount in given.items()
    }


def cleared(
    tenant: str | None, batch: str | None, periods: Mapping[Period, bool], dashes: str = ""
) -> list[BudgetScope]:
    """Return the scopes of the named periods, by default of all.

    Raises:
        ValueError: as `scope_of`.
    """
    named = [period for period in Period if periods.get(period)] or list(Period)
    if batch is not None:
        named = [Period.TOTAL]
    return [scope_of(tenant, batch, period, dashes) for period in named]


def _check_batch(batch: str, name: str) -> None:
    try:
        check_batch_name(batch, name)
    except InvalidJob as error:
        raise ValueError(error.message) from None


def _amount(period: Period, amount: Rubles) -> Decimal:
    if isinstance(amount, bool) or not isinstance(amount, (Decimal, int, str)):
        raise TypeError(
            f"{period}: give rubles as Decimal, a whole number or text, not {shown(amount)}"
        )
    try:
        return Decimal(amount)
    except InvalidOperation:
        raise ValueError(f"{period}: {shown(amount)} is not an amount of rubles") from None
