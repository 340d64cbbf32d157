"""The simulator refuses what a model does not take, and nothing of what the worker sends."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.contract import PromptCache
from visionq.devstack.simulator.question import CHAT_COMPLETIONS, RESPONSES, read_question
from visionq.devstack.simulator.refusals import SimulatedRefusal
from visionq.devstack.simulator.refused_options import check_options
from visionq.errors import InvalidJob
from visionq.pricing.model_options import load_option_table
from visionq.settings import Settings
from visionq.submission import prepare
from worker.provider.request import build_request

PICTURE: Final = "data:image/png;base64,AAAA"
MARK: Final = {"mode": "explicit"}
MODELS: Final = sorted(model for row in load_option_table().models for model in row.models)
JOBS: Final = st.fixed_dictionaries(
    {"model": st.sampled_from([*MODELS, "unknown"])},
    optional={
        "api": st.sampled_from([RESPONSES, CHAT_COMPLETIONS]),
        "effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        "temperature": st.sampled_from([0, 1, 0.5]),
        "priority": st.just("bulk"),
        "instructions": st.sampled_from(["Be brief.", "Be brief. " * 900]),
        "prompt_cache": st.sampled_from(PromptCache),
        "prompt_cache_ttl": st.sampled_from(["30m", "12h"]),
    },
)


Request = tuple[str, dict[str, Any]]


def asked(model: str = "gpt-6-luna", mark: Any = None, **fields: Any) -> Request:
    part = {"type": "input_text", "text": "?"} | ({"prompt_cache_breakpoint": mark} if mark else {})
    body = {"model": model, "input": [{"role": "user", "content": [part]}], **fields}
    return RESPONSES, body


def chat(model: str = "gpt-6-luna", **fields: Any) -> Request:
    body = {"model": model, "messages": [{"role": "user", "content": "?"}], **fields}
    return CHAT_COMPLETIONS, body


@given(JOBS)
def test_what_is_submitted_is_not_refused(fields: dict[str, Any]) -> None:
    """Two readings of the same tables agree: what one lets pass, the other takes, and no more."""
    job = {"prompt": "?", "images": [{"url": "https://example.com/a.png"}], **fields}
    try:
        document = prepare(job, Settings())
    except InvalidJob:
        return
    body = json.loads(build_request(document, [PICTURE]).body)
    check_options(read_question(document.api.value, body))


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        (asked(reasoning={"effort": "minimal"}), "reasoning.effort", "unsupported_value"),
        (chat(reasoning_effort="minimal"), "reasoning_effort", "unsupported_value"),
        (
            asked("gpt-4o-mini", reasoning={"effort": "low"}),
            "reasoning.effort",
            "unsupported_parameter",
        ),
        (asked(reasoning="low"), "reasoning", "invalid_type"),
        (asked(reasoning={"effort": 1}), "reasoning.effort", "invalid_type"),
        (asked(temperature=0.5), "temperature", "unsupported_value"),
        (chat("gpt-5-mini", temperature=0), "temperature", "unsupported_value"),
        (
            asked("gpt-4o-mini", prompt_cache_options=MARK),
            "prompt_cache_options",
            "unsupported_parameter",
        ),
        (
            asked("gpt-5.4", MARK),
            "input[0].content[0].prompt_cache_breakpoint",
            "unsupported_parameter",
        ),
        (asked(prompt_cache_options={"mode": "all"}), "prompt_cache_options.mode", "invalid_value"),
        (asked(prompt_cache_options={"ttl": "24h"}), "prompt_cache_options.ttl", "invalid_value"),
        (chat(prompt_cache_options={"ttl": "12h"}), "prompt_cache_options.ttl", "invalid_value"),
        (asked(prompt_cache_options=1), "prompt_cache_options", "invalid_type"),
        (
            asked(mark={"mode": "implicit"}),
            "input[0].content[0].prompt_cache_breakpoint.mode",
            "invalid_value",
        ),
        (
            asked(mark={"ttl": "30m"}),
            "input[0].content[0].prompt_cache_breakpoint.mode",
            "missing_required_parameter",
        ),
    ],
)
def test_what_the_provider_refuses(request_: Request, param: str, code: str) -> None:
    """By its own words and codes, uncharged."""
    with pytest.raises(SimulatedRefusal) as refused:
        check_options(read_question(*request_))
    error = refused.value.body["error"]
    assert (refused.value.status, error["param"], error["code"]) == (400, param, code)


@pytest.mark.parametrize(
    "request_",
    [
        asked(),
        asked(reasoning={"effort": "max"}, temperature=1),
        asked(reasoning={"effort": "none"}, temperature=0),
        asked(mark={**MARK, "ttl": "12h"}, prompt_cache_options={"mode": "implicit", "ttl": "12h"}),
        asked("gpt-6-luna-2026-09-22", reasoning={"effort": "low"}),
        asked("unknown", MARK, reasoning={"effort": "ultra"}, prompt_cache_options=MARK),
        chat(reasoning_effort="low", prompt_cache_options={**MARK, "ttl": "30m"}),
    ],
)
def test_what_the_provider_takes(request_: Request) -> None:
    """Nothing is refused that it takes, and of an unknown model nothing at all."""
    check_options(read_question(*request_))
