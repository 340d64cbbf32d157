"""`visionq ask` with every format of pictures, through both surfaces of the provider."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running_fleet
from visionq.devstack.sample_pictures import write_sample_pictures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Fleet

SAMPLES = ("sunset.jpg", "table.png", "sailing.webp", "balloon.gif")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_sample_pictures(tmp_path_factory.mktemp("samples"))


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_is_answered(
    fleet: Fleet, samples: dict[str, Path], name: str, api: str
) -> None:
    """JPEG, PNG, WEBP and GIF are answered through both APIs, in the prompt's own letters."""
    question = ("-p", "Что изображено на картинке?", "--api", api, "--json")
    ended = fleet.visionq("ask", samples[name], *question)
    result = json.loads(ended.stdout)
    assert (result["api"], result["images"][0]["name"]) == (api, str(samples[name]))
    width, height = (result["images"][0]["sent"][side] for side in ("width", "height"))
    assert f"{width}x{height}" in result["text"]
    assert "Картинка" in ended.stdout  # never escaped
