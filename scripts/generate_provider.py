"""Writes the tables of docs/provider.md from the tables that workers decide by.

.venv/bin/python scripts/generate_provider.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from visionq.contract import UnknownBilling, Usage
from visionq.errors import ModelNotFound, ProviderUnavailable
from visionq.ledger import Billing, Failed, Held, Parked, Waiting
from worker.decision import AttemptFacts, billing_of, decide
from worker.provider.refusal_rules import REFUSALS, TABLE, UNLISTED, RefusalRule

if TYPE_CHECKING:
    from visionq.errors import VisionqError

PAGE: Final = Path(__file__).parents[1] / "docs/provider.md"
_TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n\n(?:\|.*\n){2})(?:\|.*\n)*\n<!-- end -->")
_COSTS: Final = {
    Billing.RELEASED: "nothing",
    Billing.SETTLED: "what was counted",
    Billing.UNKNOWN: "unknown: up to its reservation",
}


def page(text: str) -> str:
    """Return the page with its tables as they should be."""
    tables = {"faults": [_row(row) for row in (*TABLE, UNLISTED)], "codes": _codes()}

    def written(found: re.Match[str]) -> str:
        rows = "".join(f"| {' | '.join(cells)} |\n" for cells in tables[found[2]])
        return f"{found[1]}{rows}\n<!-- end -->"

    return _TABLE.sub(written, text)


def _row(row: RefusalRule) -> tuple[str, ...]:
    if row is UNLISTED:
        rest = "everything else: 408, 409, 502, 504, redirects, pages, empty or cut bodies"
        return ("any", rest, f"`{row.error.code}`", row.source)
    listed = ", ".join(map(str, sorted(row.statuses)))
    said = [f"`{code}`" for code in row.codes]
    if row.words:
        escaped = row.words.replace("|", "\\|")
        said.append(f"text with `{escaped}`")
    if row.where:
        said.append(f"in `{row.where}`")
    alone = ", for that model alone" if row.by_model else ""
    return (
        "200 or a refusal" if row.statuses >= REFUSALS else listed,
        ", ".join(said) or "any body of its own",
        f"`{row.error.code}`{alone}",
        row.source,
    )


def _codes() -> list[tuple[str, ...]]:
    kinds = dict.fromkeys(row.error for row in (*TABLE, UNLISTED))
    return [(f"`{kind.code}`", _done(kind), _cost(kind)) for kind in kinds]


def _cost(kind: type[VisionqError]) -> str:
    # As the table's rows raise it: refused before anything was counted.
    error = kind("", usage=None if billing_of(kind("")) is not Billing.SETTLED else Usage())
    return _COSTS[billing_of(error)]


def _done(kind: type[VisionqError]) -> str:
    first = AttemptFacts(1, 10, on_unknown_billing=UnknownBilling.RETRY)
    match decide(kind(""), first, random=lambda: 0.5):
        case Held():
            done = "closes the gate, or holds the model; the job goes back to its lane"
        case Waiting(counted=False):
            done = "waits as long as the answer asks, at most a minute; costs no attempt"
        case Waiting() if billing_of(kind("")) is Billing.UNKNOWN:
            done = "asks once more, then parks; parks at once under `hold`; see [outages](#outages)"
        case Waiting() if kind is ProviderUnavailable:
            done = "retries with backoff; see [outages](#outages)"
        case Waiting():
            done = "retries with backoff"
        case Parked():
            done = "parks"
        case Failed() if kind is ModelNotFound:
            done = "fails the job and holds the model; one job tries again"
        case Failed():
            done = "fails the job"
    return done


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
