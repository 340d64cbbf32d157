"""The names that others import."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import visionq.contract
import visionq.ledger

if TYPE_CHECKING:
    from types import ModuleType

CONTRACT = [
    "HINTED",
    "SCHEMA_VERSION",
    "TERMINAL",
    "TRANSITIONS",
    "UNSURE",
    "Animated",
    "AnswerFormat",
    "Api",
    "Cascade",
    "DelayReason",
    "Detail",
    "ErrorDocument",
    "InvalidAnswer",
    "ImageReference",
    "ImageReport",
    "Lane",
    "JobDocument",
    "JobStep",
    "JobView",
    "Picture",
    "PictureOptions",
    "Policy",
    "Priority",
    "PromptCache",
    "ResultDocument",
    "Reuse",
    "Spend",
    "State",
    "UnknownBilling",
    "UrlMode",
    "Usage",
    "parse_job",
    "shown_state",
]
LEDGER = [
    "Admission",
    "AskedModel",
    "AsyncLedger",
    "Billing",
    "BlobsMissing",
    "Book",
    "BudgetScope",
    "Claim",
    "Completed",
    "Conflict",
    "Delivery",
    "DeliveryClaim",
    "DeliveryEnding",
    "ClaimRefusal",
    "DeliveryHint",
    "DeliveryState",
    "Dispatch",
    "Ending",
    "Failed",
    "GateOrder",
    "Held",
    "Hint",
    "Ledger",
    "LedgerFull",
    "LedgerOptions",
    "Moved",
    "NewJob",
    "Outcome",
    "OverQuota",
    "RateLimitFeedback",
    "RefusalReason",
    "Parked",
    "Period",
    "Registration",
    "Submission",
    "Submitted",
    "Verdict",
    "Waiting",
    "Written",
    "error_document",
    "failed",
    "ledger_options",
]


@pytest.mark.parametrize(
    ("module", "names"), [(visionq.contract, CONTRACT), (visionq.ledger, LEDGER)]
)
def test_exported_names(module: ModuleType, names: list[str]) -> None:
    """A name that is exported stays; a new one is added here on purpose."""
    assert sorted(module.__all__) == sorted(names)
    for name in names:
        assert hasattr(module, name)


@pytest.mark.parametrize("module", ["visionq", "visionq.contract", "visionq.ledger", "visionq.sdk"])
def test_import_is_light(module: str) -> None:
    """Importing what a producer needs brings in neither Celery nor a picture or model library."""
    program = (
        f"import sys, {module}\n"
        "heavy = {'celery', 'kombu', 'openai', 'PIL', 'aiohttp', 'click', 'rich'}\n"
        "print(*(heavy & set(sys.modules)))"
    )
    said = subprocess.run(  # our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == ""
