"""What README and docs show is run as it is there, on a real stack with the simulator."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from PIL import Image

from tests.support.docs_blocks import ROOT, Block, blocks, shell_lines, visionq_arguments
from tests.support.gateway import KEY, asked
from tests.support.pictures import data_url, picture
from tests.support.warm_command import warm_visionq

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Fleet
    from tests.support.gateway import Gateway

#: Pages whose Python is one program each; clients and frames have tests of their own.
PYTHON_PAGES: Final = (
    *("README.md", "docs/producing.md", "docs/gateway.md", "docs/money.md", "docs/recipes.md"),
)
SHELL_PAGES: Final = (
    *("README.md", "docs/quickstart.md", "docs/producing.md", "docs/bulk.md", "docs/money.md"),
    *("docs/cli.md", "docs/flower.md", "docs/gateway.md", "docs/operations.md"),
    "docs/recipes.md",
)
#: Beginning of a command → why it is not run here. Those of visionq are parsed by a unit test.
NOT_RUN: Final = {
    **dict.fromkeys(("docker ", "kubectl", "COMPOSE_PROFILES"), "needs Docker or a cluster"),
    **dict.fromkeys(("make ", "pipx ", "uv ", "python3 -m venv", "env/bin"), "installs"),
    **dict.fromkeys(("git clone", "git pull", "cd visionq", "cp .env", "ssh "), "another machine"),
    **dict.fromkeys(("visionq up", "visionq gateway", "visionq worker"), "runs until it is ended"),
    "visionq demo": "has a test of its own",
    "visionq ask scan.tiff": "the simulator sees the file that it must reject",
    "visionq dead-letters show": "there is no dead letter",
    "visionq dead-letters replay": "there is no dead letter",
    "visionq spend settle": "there is no call of unknown billing",
}
#: What a page leaves to the reader.
PRELUDE: Final = """
from celery import Celery
from pydantic import BaseModel
from visionq import Client

redis_url, gateway_url, gateway_key, question, paths = {values}
client = Client()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "photos").mkdir()
    named = "".join(
        block.text for page in (*PYTHON_PAGES, *SHELL_PAGES) for block in blocks(ROOT / page)
    )
    pictures = {*re.findall(r"[\w-]+\.(?:jpg|png)", named), *(f"photos/{n}.jpg" for n in range(3))}
    for number, name in enumerate(sorted(pictures)):
        (folder / name).write_bytes(picture(number + 1))
    (folder / "docs").mkdir()
    shutil.copytree(ROOT / "docs" / "images", folder / "docs" / "images")
    Image.effect_noise((64, 48), 80).save(folder / "scan.tiff")
    Image.effect_noise((64, 48), 80).convert("P").save(folder / "banner.gif")
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    for name in ("receipt.schema.json", "card.json"):
        (folder / name).write_text(json.dumps(schema))
    image = {"id": 1, "file_name": "0.jpg", "width": 32, "height": 24}
    drawn = {"images": [image], "annotations": [], "categories": []}
    (folder / "people.json").write_text(json.dumps(drawn))
    for name in ("question.txt", "prompt.txt"):
        (folder / name).write_text("What is it?")
    (folder / "page.txt").write_text("Model\tInput, ₽\tOutput, ₽\ngpt-4o-mini\t40\t160\n", "utf-8")
    (folder / "questions.csv").write_text("id,file,question\n1,1.png,Red?\n2,1.png,New?\n")
    (folder / "goods.csv").write_text("id,image\n1,photo.jpg\n2,a.jpg\n")
    body = {"model": "gpt-6-luna", "input": asked(3)}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": body}
    (folder / "input.jsonl").write_text(json.dumps(line) + "\n")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "visionq").symlink_to(warm_visionq())
    return folder


@pytest.fixture
def environment(parts: tuple[Gateway, Fleet], folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
        "HOME": str(folder),
        "VISIONQ_REDIS_URL": parts[1].server.url,
        "PROXYAPI_BASE_URL": parts[1].simulator.provider_url,
        "PROXYAPI_API_KEY": "test-key",
        "REDIS_URL": parts[1].server.url,
    }


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(  # what our own pages say
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def program(page: str, gateway: Gateway, fleet: Fleet) -> str:
    """Return the Python of a page as one program; what is at addresses comes with it."""
    parts = [block.text for block in blocks(ROOT / page) if block.language == "python"]
    values = (fleet.server.url, gateway.url, KEY, asked(1), ["photos/0.jpg", "photos/1.jpg"])
    text = "\n".join((PRELUDE.format(values=values), *parts))
    for address in ("https://example.com/photo.jpg", "https://example.com/a.jpg"):
        text = text.replace(address, data_url(4))
    text = text.replace("https://example.org/photo.jpg", data_url(5))
    text = text.replace("http://127.0.0.1:8000", gateway.url).replace("vq-…", KEY)
    if any(isinstance(node, ast.AsyncFunctionDef) for node in ast.parse(text).body):
        text += "\nprint(asyncio.run(main(paths)))\n"
    return text


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python(
    parts: tuple[Gateway, Fleet], folder: Path, environment: dict[str, str], page: str
) -> None:
    """The Python of a page runs from its first line to its last."""
    (folder / "page.py").write_text(program(page, *parts), "utf-8")
    assert run([sys.executable, "page.py"], folder, environment)


def test_every_page_with_python_is_run() -> None:
    """No page's Python is left out."""
    pages = {
        str(page.relative_to(ROOT))
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        if ".ru." not in page.name and any(one.language == "python" for one in blocks(page))
    }
    assert pages == {*PYTHON_PAGES, "docs/clients.md", "docs/frames.md"}


def is_run(line: str) -> bool:
    command = line.strip().removeprefix(".venv/bin/")
    return visionq_arguments(line) is not None and not command.startswith(tuple(NOT_RUN))


COMMANDS: Final = [
    pytest.param(block, line, id=f"{block.name} {line[:50]}")
    for page in SHELL_PAGES
    for block in blocks(ROOT / page)
    for line in shell_lines(block)
    if is_run(line)
]


@pytest.mark.parametrize(("block", "line"), COMMANDS)
def test_command(
    parts: tuple[Gateway, Fleet],
    folder: Path,
    environment: dict[str, str],
    block: Block,
    line: str,
) -> None:
    """A command of a page ends well; ids are those of a job, and addresses of a picture."""
    job = parts[1].client.submit(prompt=block.name, images=[picture(9)])
    job.wait(timeout=60)
    command = line.replace("git diff |", "echo What? |").replace(" ID", f" {job.id}")
    command = command.replace("https://example.com/after.png", "a.jpg")
    if visionq_arguments(line)[:1] == ["run"]:  # type: ignore[index]  # it has some
        command = f"{command.split('#')[0]} --yes"
        (folder / command.split(" -o ")[1].split()[0]).unlink(missing_ok=True)
    run(["bash", "-o", "pipefail", "-c", command], folder, environment)
