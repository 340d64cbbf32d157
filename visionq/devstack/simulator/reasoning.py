"""How many tokens a model spends on reasoning, by effort and question."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionq.devstack.simulator.model_catalogue import Catalogue
    from visionq.devstack.simulator.question import ModelRequest

#: Questions at one effort take from this to that multiple of its usual tokens: the same question
#: always the same.
LEAST: Final = 0.8
MOST: Final = 1.2


def reasoning_tokens(question: ModelRequest, digest: str, catalogue: Catalogue) -> int:
    """Return the tokens of a question, known by the `digest` of its request."""
    effort = _asked(question.body) or catalogue.default_effort(question.model)
    usual = catalogue.effort_tokens.get(effort or "", 0)
    drawn = int(hashlib.sha256(digest.encode()).hexdigest()[:8], 16) / 16**8
    return round(usual * (LEAST + (MOST - LEAST) * drawn))


def _asked(body: Mapping[str, Any]) -> str | None:
    reasoning = body.get("reasoning")
    asked = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return asked or body.get("reasoning_effort")
