"""What the environment says of the models' limits, for all workers to go by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from visionq.ledger.rate_limits import ENVIRONMENT, read_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionq.contract.limits import Limits
    from visionq.ledger import Ledger


@dataclass
class EnvironmentLimits:
    """Writes the limits of `VISIONQ_LIMITS` into the ledger once, when Redis is there.

    Of workers whose environments differ the last one started is believed.
    """

    ledger: Ledger
    limits: Mapping[str, Limits]
    _told: bool = field(default=False, init=False)

    def run(self) -> None:
        """Tell them, unless that is done."""
        if self._told:
            return
        said = read_limits(self.ledger.redis)[ENVIRONMENT]
        news: dict[str, Limits | None] = dict.fromkeys(said.keys() - self.limits.keys())
        news |= {model: one for model, one in self.limits.items() if said.get(model) != one}
        if news:
            self.ledger.set_limits(ENVIRONMENT, news)
        self._told = True
