"""Differences of sellers with OpenAI's API: key, balance, reported cost, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from visionq.devstack.simulator.refusals import SimulatedRefusal

if TYPE_CHECKING:
    from decimal import Decimal

#: Names of the sellers; `other` is one whose refusals have a form of its own.
DialectName = Literal["proxyapi", "aitunnel", "polza", "other"]


#: Where a seller has the models of all vendors, by names that say whose they are.
UNIFIED: Final = "/v1"


@dataclass(frozen=True)
class Dialect:
    """The dialect of one seller."""

    scheme: str = "bearer"
    balance_path: str = "/proxyapi/balance"
    balance_field: str = "balance"
    #: Fields of `usage` that say what a call cost, and what is left.
    cost_fields: tuple[str, ...] = ()
    balance_in_usage: bool = False
    #: Whether names have a vendor's prefix at `UNIFIED`, and nowhere else.
    unified: bool = False
    #: Of a refusal of the seller's own, not of the provider behind it.
    form: Literal["detail", "error", "message"] = "detail"

    def bill(self, document: dict[str, Any], rub: Decimal, balance: Decimal) -> dict[str, Any]:
        """Add the cost of the call to an answer, if the seller reports it."""
        told: dict[str, Any] = dict.fromkeys(self.cost_fields, float(rub))
        if self.balance_in_usage:
            told["balance"] = float(balance)
        return document | {"usage": document["usage"] | told}

    def refusal(self, refusal: SimulatedRefusal) -> SimulatedRefusal:
        """Return a refusal in the seller's form; most pass OpenAI's through unchanged."""
        said = refusal.body.get("detail")
        if self.form == "message":
            body: dict[str, Any] = {"status": "failed", "message": str(refusal.body)}
        elif said is not None and self.form == "error":
            body = {"error": {"message": str(said), "code": refusal.status}}
        else:
            return refusal
        return SimulatedRefusal(refusal.status, body, refusal.headers)


DIALECTS: Final[dict[DialectName, Dialect]] = {
    "proxyapi": Dialect(unified=True),
    "aitunnel": Dialect(
        balance_path="/v1/aitunnel/balance",
        cost_fields=("cost_rub",),
        balance_in_usage=True,
        form="error",
    ),
    "polza": Dialect(
        balance_path="/api/v1/balance",
        balance_field="amount",
        cost_fields=("cost_rub", "cost"),
        form="error",
    ),
    "other": Dialect(
        scheme="api-key", balance_path="/balance", cost_fields=("cost",), form="message"
    ),
}
