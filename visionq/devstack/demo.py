"""`visionq demo`: real pictures through Redis, a Celery worker and HTTP, in under a minute.

No key is needed and nothing leaves this machine: the simulator answers from the pixels.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table

from visionq.devstack.sample_pictures import write_sample_pictures
from visionq.devstack.simulator.process import RunningSimulator
from visionq.devstack.temporary import temporary_stack
from visionq.errors import JobFailed, VisionqError
from visionq.ledger.views import spend
from visionq.pricing.money import day_of
from visionq.redis_connection import connect
from visionq.sdk import Client
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visionq.contract import Spend

#: Seconds for one answer.
PATIENCE = 30

_QUESTION = "Что изображено на картинке?"
_COMPARISON = "Есть ли отличия между изображениями?"
_SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "colours": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title", "colours"],
    "additionalProperties": False,
}


class Form(NamedTuple):
    """One way to submit a job."""

    title: str
    images: tuple[str, ...]
    options: dict[str, Any]
    prompt: str = _QUESTION


def forms(folder: Path, site: str) -> list[Form]:
    """Return every request form of ProxyAPI's page on computer vision, and the answer forms."""
    sunset, table = str(folder / "sunset.jpg"), str(folder / "table.png")
    chat = {"api": "chat_completions"}
    levels = [
        Form(f"{name}, detail {detail}", (sunset,), {**options, "detail": detail})
        for name, options in (("Responses", {}), ("Chat", chat))
        for detail in ("low", "high", "auto")
    ]
    return [
        Form("Responses, picture by URL", (f"{site}/sunset.jpg",), {}),
        Form("Chat, picture by URL", (f"{site}/table.png",), chat),
        Form("Responses, picture by upload", (table,), {}),
        Form("Chat, picture by upload", (sunset,), chat),
        *levels[:-1],  # Chat with `auto` was asked above
        Form(
            "two pictures, one question",
            (table, str(folder / "table-changed.png")),
            {},
            _COMPARISON,
        ),
        Form(
            "answer by JSON Schema",
            (str(folder / "lighthouse-turned.jpg"),),
            {"answer_schema": _SCHEMA},
        ),
    ]


def run_demo() -> int:
    """Run the demo; return the exit code."""
    # Where no terminal says how wide it is, lines stay whole.
    width = None if sys.stdout.isatty() else 110
    # Rich's own colours take `640x480` for a number that begins with `0x`.
    console = Console(width=width, soft_wrap=True, highlight=False)
    os.environ["VISIONQ_ALLOW_PRIVATE_URLS"] = "1"  # the demo serves its pictures on loopback
    console.print("[bold]visionq demo[/]: Redis, a simulated provider, two workers and Flower …")
    with (
        TemporaryDirectory(prefix="visionq-demo-") as directory,
        temporary_stack("--simulate", "--workers", "2", "--service", "flower") as stack,
        Client(redis_url=str(stack["redis_url"])) as client,
        served(Path(directory)) as site,
    ):
        simulator = RunningSimulator(str(stack["simulator_url"]), 0)
        console.print(
            f"  ready: Redis, simulator at {simulator.url}, Flower at {stack['flower_url']}"
        )
        show_forms(console, client, forms(Path(directory), site))
        show_retry(console, client, simulator, Path(directory))
        show_rejection(console, client, Path(directory))
        today = day_of(time.time(), load_settings().time_zone)
        with connect(str(stack["redis_url"]), "visionq-demo") as redis:
            return show_bill(console, spend(redis, today), simulator)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Write the sample pictures and serve them on loopback."""
    write_sample_pictures(folder)
    handler = partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the parent's name
        del format, args


def show_forms(console: Console, client: Client, asked: list[Form]) -> None:
    """Ask in every form at once and print answers as they arrive."""
    console.print("\n[bold]Every form of the API[/], asked at once, each with its price:")
    titles = {}
    for form in asked:
        job = client.submit(
            prompt=form.prompt, images=[_source(image) for image in form.images], **form.options
        )
        titles[job.id] = form.title
    table = Table("form", "answer", "tokens", "cost", box=None, pad_edge=False)
    for answered, result in client.results(list(titles), timeout=PATIENCE):
        if isinstance(result, VisionqError):
            raise result
        answer = json.dumps(result.data, ensure_ascii=False) if result.data else result.text
        cost = "reused, 0 ₽" if result.cached else f"{result.cost_rub:.4f} ₽"
        table.add_row(titles[str(answered)], answer, str(result.usage.total_tokens), cost)
    console.print(table)


def _source(image: str) -> str | Path:
    return image if image.startswith("http") else Path(image)


def show_retry(console: Console, client: Client, simulator: RunningSimulator, folder: Path) -> None:
    """Let the provider refuse the next call; the job completes anyway."""
    console.print("\n[bold]A provider that says no once[/]:")
    before = simulator.bill()["calls"]
    simulator.configure(faults_next=["429"])
    job = client.submit(prompt="Какого цвета стена?", images=[folder / "table.png"])
    result = client.wait(job, timeout=PATIENCE)
    calls = simulator.bill()["calls"] - before
    console.print(
        f"  first call answered 429, waited, call {calls} of {calls} answered: {result.text}"
    )
    console.print(f"  billed once: {result.cost_rub:.4f} ₽")


def show_rejection(console: Console, client: Client, folder: Path) -> None:
    """Send files that are not pictures; they are refused before anything is paid."""
    console.print("\n[bold]Files that are no pictures[/]:")
    for name in ("notes.jpg", "balloon-animated.gif"):
        try:
            client.wait(client.submit(prompt=_QUESTION, images=[folder / name]), timeout=PATIENCE)
        except JobFailed as error:
            console.print(f"  {name} rejected, unpaid: [yellow]{error.code}[/], {error.message}")


def show_bill(console: Console, spent: Spend, simulator: RunningSimulator) -> int:
    """Compare our books with the provider's bill."""
    bill = simulator.bill()
    console.print("\n[bold]The bill[/]:")
    console.print(f"  provider: {bill['billed']} of {bill['calls']} calls billed, {bill['rub']} ₽")
    console.print(f"  ledger:   {spent.settled_rub} ₽ settled, {spent.unknown_rub} ₽ unknown")
    agree = Decimal(bill["rub"]) == spent.settled_rub
    console.print("  they agree to the last digit" if agree else "  [red]they do not agree[/]")
    return 0 if agree else 1
