"""`visionq models`: bad input is one line and changes nothing; what is done can be undone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from producer.compare.models_command import models
from visionq.model_migrations import read_migrations
from visionq.names import MODEL_CHANGES

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

LUNA, TERRA = "gpt-6-luna", "gpt-6.1-terra"


@pytest.fixture(autouse=True)
def here(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)
    monkeypatch.chdir(tmp_path)


def call(*words: str) -> tuple[int, str, Any]:
    done = CliRunner().invoke(models, words)
    out = json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout
    return done.exit_code, done.stderr.strip().splitlines()[-1] if done.stderr else "", out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((LUNA, "nobody"), "no price is known for nobody"),
        ((LUNA, LUNA, "--sample", "0"), "give two different models"),
        ((LUNA, "no model"), "is not the name of a model"),
        ((TERRA, LUNA), "add --named"),
        ((LUNA, TERRA), "no job that is kept was answered by gpt-6-luna"),
        ((LUNA, TERRA, "-p", "?"), "--prompt is about a SOURCE"),
        ((LUNA, TERRA, "--model", LUNA), "FROM and TO are the models"),
        ((LUNA, TERRA, "--sample", "0", "--tenant", "a b"), "not the name of a tenant"),
        ((LUNA, TERRA, "--sample", "0"), "add --yes"),
    ],
)
def test_bad_input_is_one_line(redis: Redis, words: tuple[str, ...], said: str) -> None:
    """Each mistake ends with exit code 2, one line, and nothing changed."""
    code, error, _ = call("migrate", *words)
    assert (code, said in error) == (2, True), error
    assert not read_migrations(redis).by_key
    assert not redis.exists(MODEL_CHANGES)


def test_set_shown_and_undone(redis: Redis) -> None:
    """Without a comparison it is set at once; a second one is refused; each can be undone."""
    code, error, done = call("migrate", LUNA, TERRA, "--sample", "0", "--yes", "--json")
    assert (code, done["migrated"], done["comparison"]) == (0, True, None), error
    assert {one["what"] for one in done["changes"]} >= {"₽ a million in / out"}
    code, error, _ = call("migrate", LUNA, TERRA, "--sample", "0", "--yes", "--named")
    assert (code, "is migrated to gpt-6.1-terra since" in error) == (2, True)
    own = ("--tenant", "acme", "--sample", "0", "--yes", "--named")
    assert call("migrate", TERRA, "gpt-6.1-sol", *own)[0] == 0
    shown = call("show", "--json")[2]
    assert (shown["configured"], shown["asked"]) == (LUNA, TERRA)
    assert len(shown["migrations"]) == len(shown["changes"]) == 2
    assert "acme" in call("show")[2]
    assert call("undo", TERRA)[0] == 2
    assert call("undo", TERRA, "--tenant", "acme", "--json")[2]["undone"] is True
    assert call("undo")[0] == 0
    assert call("undo")[1].endswith("no model is migrated: see `visionq models show`")
    assert redis.llen(MODEL_CHANGES) == 4
