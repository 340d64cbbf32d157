"""The code blocks of README and docs are what their language says, and name what there is."""

from __future__ import annotations

import ast
import configparser
import json
import re
import tomllib
from types import SimpleNamespace
from typing import Any, Final

import click
import pytest

from monitoring.flower.masking import HIDDEN, show_arguments, show_result
from producer.job_options import column_names
from tests.support.docs_blocks import PAGES, ROOT, Block, blocks, shell_lines, visionq_arguments
from visionq.cli import cli, up

BLOCKS: Final = [block for page in PAGES for block in blocks(page)]
COMMANDS: Final = [
    pytest.param(arguments, id=f"{block.name} {' '.join(arguments)[:60]}")
    for block in BLOCKS
    for line in shell_lines(block)
    if (arguments := visionq_arguments(line))
    and not line.lstrip().startswith(("git clone", "cd ", "kubectl -n visionq create"))
    and "kubectl -n visionq exec" not in line
]
#: Languages of blocks that other tests run (`tests/e2e`), or that only people read.
ELSEWHERE: Final = frozenset({"", "sh", "js", "php", "go", "nginx", "mermaid"})


@pytest.mark.parametrize("arguments", COMMANDS)
def test_each_command_is_one(arguments: list[str]) -> None:
    """Every `visionq …` on a page has a command, arguments and options that visionq takes."""
    command: click.Command = cli
    context = click.Context(cli, info_name="visionq")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        context, command = click.Context(found, parent=context, info_name=name), found
    parser = command.make_parser(context)
    parser.parse_args(list(arguments))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_each_block_is_of_its_language(block: Block) -> None:
    """Python parses, JSON and TOML are read, and no other language goes unnoticed."""
    match block.language:
        case "python":
            ast.parse(block.text)
        case "json":
            json.loads(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "ini":
            configparser.ConfigParser(strict=False).read_string(block.text)
        case language:
            assert language in ELSEWHERE


@pytest.mark.parametrize("page", ["bulk.md", "bulk.ru.md"])
def test_columns_of_manifests_exist(page: str) -> None:
    """A column that a page names sets a field of a job."""
    named = re.findall(r"`(visionq\.[a-z_]+)`", (ROOT / "docs" / page).read_text("utf-8"))
    assert named
    assert set(named) <= set(column_names())


def _without_what_changes(screen: str) -> str:
    """Leave out of a screen what each run makes again."""
    screen = re.sub(r"default:[^@]+@", "default:…@", screen)
    screen = re.sub(r"(?<=key )vq-[\w-]+|(?<=visionq, )\w+", "…", screen.replace("vq-…", "…"))
    return re.sub(r"/[t]mp/\S+|(?<=:)\d+", "N", screen).strip()


@pytest.mark.parametrize("page", ["quickstart.md", "quickstart.ru.md"])
def test_the_screen_of_up(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The screen in the quickstart is the one that `visionq up` shows."""
    plan: Any = SimpleNamespace(
        redis=SimpleNamespace(url="redis://default:secret@127.0.0.1:1/0"),
        simulator_url="http://127.0.0.1:2",
        workers=2,
        concurrency=64,
        flower_url="http://127.0.0.1:3",
        flower_user="visionq",
        flower_password="secret",  # noqa: S106  # of a test
        gateway_url="http://127.0.0.1:4",
        gateway_key="vq-secret",
        metrics_url="http://127.0.0.1:5/metrics",
        data_dir="/tmp/visionq-1",  # noqa: S108  # likewise
        passing=True,
    )
    up._print_table(plan)
    shown = _without_what_changes(capsys.readouterr().out)
    (screen,) = (one for one in blocks(ROOT / "docs" / page) if "Ready. Ctrl-C" in one.text)
    assert _without_what_changes(screen.text) == shown


def test_what_flower_keeps() -> None:
    """The forms that flower.md names are forms that Flower's masks let through."""
    text = (ROOT / "docs" / "flower.md").read_text("utf-8")
    job, delivery, completed, delivered = re.findall(
        r"`([^`]+)`", text[text.index("only these forms") :]
    )[:4]
    shown = (
        show_arguments(job.replace("=T", "=t").replace("=N", "=1")),
        show_arguments(delivery.replace("=T", "=t").replace("=E", "=job.completed")),
        show_result(completed.replace("=N", "=0.5")),
        show_result(delivered.replace("=N", "=204")),
    )
    assert HIDDEN not in shown


def test_gateway_and_gate_have_different_words_in_russian() -> None:
    """«Шлюз» is the HTTP gateway; what opens and closes before the provider is another word."""
    for page in PAGES:
        if ".ru." in page.name:
            assert not re.search(
                r"(закры|откры|сработа)\w* шлюз|шлюз\w* (закры|откры)", page.read_text("utf-8")
            )
