"""What the provider keeps of a prompt: long instructions of many jobs, and never a picture."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.contract import Api, JobDocument, PromptCache, parse_job
from visionq.errors import InvalidJob
from visionq.pricing.caching import load_caching
from visionq.pricing.prompt_cache import cache_plan, cached_prefix
from visionq.settings import Settings
from visionq.submission import prepare
from worker.provider.request import build_request

LONG: Final = "Describe what you see, in one sentence. " * 120
PICTURE: Final = "data:image/jpeg;base64,/9j/4AAQ"
CACHING: Final = "gpt-6-luna"
EXPLICIT: Final = {"mode": "explicit"}
JOBS: Final = st.fixed_dictionaries(
    {
        "model": st.sampled_from([CACHING, "gpt-5.6-terra", "gpt-4o-mini", "unknown"]),
        "api": st.sampled_from(["responses", "chat_completions"]),
        "priority": st.sampled_from(["bulk", "interactive"]),
        "instructions": st.sampled_from([None, "", "Be brief.", LONG]),
        "answer_schema": st.sampled_from(
            [None, {"type": "string"}, {"type": "object", "title": LONG}]
        ),
    },
    optional={
        "prompt_cache": st.sampled_from(PromptCache),
        "prompt_cache_ttl": st.just("30m"),
    },
)


def job(**fields: Any) -> JobDocument:
    images = [{"url": "https://example.com/a.jpg"}]
    defaults = {"prompt": "What?", "images": images, "model": CACHING, "max_output_tokens": 99}
    return parse_job(defaults | fields)


def body_of(asked: JobDocument, default: PromptCache | None = None) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(build_request(asked, [PICTURE], (), default).body)
    return body


def messages_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = body.get("input") or body["messages"]
    return messages


@given(JOBS, st.sampled_from([None, *PromptCache]))
def test_no_picture_is_kept(fields: dict[str, Any], default: PromptCache | None) -> None:
    """Of models that write by themselves, unless that is asked for; the question stays."""
    asked = job(**fields)
    body = body_of(asked, default)
    marked = json.dumps(body).count("prompt_cache_breakpoint")
    if load_caching().for_model(fields["model"]) is None and "prompt_cache" not in fields:
        assert (marked, "prompt_cache_options" in body) == (0, False)
        return
    if (fields.get("prompt_cache") or default) is not PromptCache.IMPLICIT:
        assert body["prompt_cache_options"]["mode"] == "explicit"
    assert marked <= 1
    if marked:
        first = messages_of(body)[0]
        assert first["role"] == ("system" if asked.api is Api.CHAT_COMPLETIONS else "developer")
        (part,) = first["content"]
        assert (part["text"], part["prompt_cache_breakpoint"]) == (asked.instructions, EXPLICIT)
        assert "instructions" not in body
    question = messages_of(body)[-1]
    assert question == messages_of(body_of(asked.model_copy(update={"prompt_cache": None})))[-1]
    assert json.dumps(body).count(PICTURE) == 1


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"priority": "bulk", "instructions": LONG}, True),
        ({"priority": "bulk", "instructions": "Be brief."}, False),
        ({"priority": "bulk", "instructions": "I", "answer_schema": {"title": LONG}}, True),
        ({"priority": "bulk", "answer_schema": {"title": LONG}}, False),
        ({"priority": "interactive", "instructions": LONG}, False),
        ({"instructions": "Be brief.", "prompt_cache": "instructions"}, True),
        ({"prompt_cache": "instructions"}, False),
        ({"priority": "bulk", "instructions": LONG, "prompt_cache": "off"}, False),
    ],
)
def test_the_rule(fields: dict[str, Any], kept: bool) -> None:  # a case
    """Instructions are kept that many jobs share and that are long enough, or where asked for."""
    plan = cache_plan(job(**fields), None)
    assert plan is not None
    assert (plan.options, plan.breakpoint) == (EXPLICIT, kept)


def test_settings_decide_where_the_job_does_not() -> None:
    """The job's own word goes first, then that of the operator, then the rule."""
    shared = job(priority="bulk", instructions=LONG)
    for default in PromptCache:
        plan = cache_plan(shared, default)
        assert plan is not None
        assert plan.breakpoint is (default is PromptCache.INSTRUCTIONS)
        assert bool(plan.options) is (default is not PromptCache.IMPLICIT)
    own = shared.model_copy(update={"prompt_cache": PromptCache.INSTRUCTIONS})
    plan = cache_plan(own, PromptCache.OFF)
    assert plan is not None
    assert plan.breakpoint


def test_the_prefix_is_the_same_for_all_jobs() -> None:
    """For any question about any pictures."""
    first = job(
        priority="bulk", instructions=LONG, prompt="What?", answer_schema={"type": "object"}
    )
    second = first.model_copy(update={"prompt": "Where?"})
    assert cached_prefix(first) == cached_prefix(second)
    assert messages_of(body_of(first))[0] == messages_of(body_of(second))[0]
    other = first.model_copy(update={"answer_schema": {"type": "array"}})
    assert cached_prefix(other) != cached_prefix(first)


def test_lifetimes_are_passed_on() -> None:
    """A lifetime is sent with the mode that writes, or may write, the cache."""
    asked = job(instructions=LONG, prompt_cache="instructions", prompt_cache_ttl="12h")
    assert body_of(asked)["prompt_cache_options"] == {"mode": "explicit", "ttl": "12h"}
    implicit = job(prompt_cache="implicit", prompt_cache_ttl="30m")
    assert body_of(implicit)["prompt_cache_options"] == {"ttl": "30m"}
    assert "prompt_cache_options" not in body_of(job(prompt_cache="implicit"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "gpt-4o-mini", "prompt_cache": "off"},
            "prompt_cache: gpt-4o-mini takes only",
        ),
        ({"model": "gpt-5.4", "prompt_cache_ttl": "30m"}, "prompt_cache_ttl: gpt-5.4 takes none"),
        (
            {"prompt_cache_ttl": "24h"},
            "prompt_cache_ttl: gpt-6-luna takes 30m, 12h through responses",
        ),
        (
            {"prompt_cache_ttl": "12h", "api": "chat_completions"},
            "prompt_cache_ttl: gpt-6-luna takes 30m through chat_completions",
        ),
        ({"prompt_cache": "all"}, "prompt_cache: "),
        ({"prompt_cache_ttl": "for ever"}, "prompt_cache_ttl: "),
        (
            {"extra_body": {"prompt_cache_options": {"prewarm": True}}},
            "extra_body: 'prompt_cache_options' can't be set here",
        ),
        (
            {"extra_body": {"prompt_cache_options": EXPLICIT}, "prompt_cache": "implicit"},
            "extra_body: 'prompt_cache_options' can't be set here",
        ),
    ],
)
def test_what_is_not_taken_is_named(fields: dict[str, Any], message: str) -> None:
    """Before anything is paid."""
    given_fields = {"prompt": "?", "images": [{"url": "https://example.com/a.jpg"}]}
    with pytest.raises(InvalidJob, match=message):
        prepare(given_fields | {"model": CACHING} | fields, Settings())


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"mode": "explicit"}, ("off", None)),
        ({"mode": "implicit", "ttl": "12h"}, ("implicit", "12h")),
        ({"ttl": "30m"}, ("implicit", "30m")),
    ],
)
def test_the_providers_own_words(options: dict[str, str], wanted: tuple[str, str | None]) -> None:
    """In `extra_body` they are the same as the job's own fields."""
    asked = job(extra_body={"prompt_cache_options": options, "seed": 1})
    assert (asked.prompt_cache, asked.prompt_cache_ttl) == wanted
    assert asked.extra_body == {"seed": 1}


def test_an_unknown_model_is_sent_what_is_asked_for() -> None:
    """Nothing is known of it: nothing is added, nothing refused."""
    fields = {"prompt": "?", "images": [{"url": "https://example.com/a.jpg"}], "model": "unknown"}
    assert prepare(fields | {"prompt_cache": "off"}, Settings()).prompt_cache == "off"
    assert body_of(job(model="unknown", prompt_cache="off"))["prompt_cache_options"] == EXPLICIT
    assert cache_plan(job(model="unknown"), PromptCache.INSTRUCTIONS) is None
