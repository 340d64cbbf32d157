"""Runs one scenario to its end."""

from __future__ import annotations

import shutil
import sys
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from tests.chaos.catalogue import SCENARIOS
from tests.chaos.rabbitmq import running_rabbitmq
from tests.chaos.report import Finding
from tests.chaos.scenario import Goal, Scene, Skipped

#: Instead of the URL of a broker: start one.
OWN_RABBITMQ: Final = "rabbitmq"


@dataclass(frozen=True)
class Order:
    """Choose the scenario and how to run it."""

    name: str
    seed: int = 1
    quick: bool = False
    scale: float = 1.0
    broker: str | None = None


def run_one(order: Order) -> Finding:
    """Run a scenario to its end, or to what broke it."""
    started = time.monotonic()
    folder = Path(mkdtemp(prefix=f"visionq-chaos-{order.name}-"))
    scenario, skipped = SCENARIOS[order.name], None
    scene = Scene(folder, order.seed, order.quick, order.scale)
    try:
        with ExitStack() as stack:
            scene.broker = order.broker
            if order.broker == OWN_RABBITMQ:
                scene.broker = stack.enter_context(running_rabbitmq(folder / "rabbitmq")).url
            scenario.run(scene)
    except Skipped as reason:
        skipped = str(reason)
    except Exception as error:  # noqa: BLE001  # any error is a finding
        traceback.print_exc()
        scene.goals.append(Goal("ran to its end", str(error), "yes", met=False))
    took = round(time.monotonic() - started, 1)
    finding = Finding(
        scenario.name, scenario.promise, order.seed, took, scene.goals, scene.notes, skipped
    )
    if finding.verdict == "missed":
        print(f"{scenario.name}: logs are in {folder}", file=sys.stderr)  # noqa: T201  # a program for the terminal
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return finding
