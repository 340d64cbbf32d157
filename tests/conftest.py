"""What holds for every test: a scrubbed environment, and the cheap ones first."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pytest
import structlog
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator

# Here, before any test imports them.
pytest.register_assert_rewrite(
    "tests.support.ledger",
    "tests.support.ledger_model.machine",
    "tests.support.ledger_model.pair",
    "tests.support.ledger_model.snapshot",
    "tests.support.ledger_model.soundness",
)

# Time is for `make bench`: a machine may be busy.
settings.register_profile("untimed", deadline=None, max_examples=50)
#: For a night: `make test ARGS="--hypothesis-profile=thorough"`.
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile("untimed")

# With `rich` installed, structlog shows the locals of each frame: seconds of processor a traceback.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

#: The folders of tests, cheapest first; each is also a marker.
COSTS: Final = ("unit", "contract", "integration", "e2e", "chaos")

#: The longest files of real processes, which run before the others: one process runs a whole file,
#: and all would wait for a long one at the end.
LONGEST: Final = (
    *("test_bulk_run", "test_cascade", "test_faults", "test_openapi", "test_up", "test_mcp"),
    *("test_quick", "test_batches", "test_flower", "test_wheel", "test_prometheus"),
    *("test_pace", "test_run_batches", "test_webhooks", "test_quarantine"),
)

_TESTS: Final = Path(__file__).parent
#: What could make a test spend money, or reach something that is not its own.
_SCRUBBED: Final = re.compile(
    r"(VISIONQ|PROXYAPI|OPENAI|CELERY|FLOWER|REDISCLI)_.*|(HTTPS?|ALL|NO)_PROXY", re.IGNORECASE
)


def pytest_configure(config: pytest.Config) -> None:
    """Scrub the environment of this process, and so of every process that a test starts."""
    scrub_environment()
    keep_bytecode()
    # Where pytest runs in the background it is ignored, and would be by the processes of tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A stack that the developer has running keeps its record there.
    home = TemporaryDirectory(prefix="visionq-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(home.cleanup)
    for kind in ("CACHE", "CONFIG", "DATA", "STATE"):
        os.environ[f"XDG_{kind}_HOME"] = str(Path(home.name, kind.lower()))


def scrub_environment() -> None:
    """Forget every variable by which a test could spend money or reach what is not its own."""
    for name in [name for name in os.environ if _SCRUBBED.fullmatch(name)]:
        del os.environ[name]


def keep_bytecode() -> None:
    """Compile each module once, in a container as well, and not in every process and run."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with what it costs, and run the cheap ones first."""
    for item in items:
        item.add_marker(cost_of(item.path))
    items.sort(key=lambda item: _order(item.path))


def _order(path: Path) -> tuple[bool, bool, int]:
    cost = COSTS.index(cost_of(path))
    return cost >= COSTS.index("e2e"), path.stem not in LONGEST, cost


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the collector of garbage what stays until the end: every test and all they import."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def cost_of(path: Path) -> str:
    """Return the folder of a test.

    Raises:
        pytest.UsageError: it is in none of them.
    """
    folder = path.relative_to(_TESTS).parts[0]
    if folder not in COSTS:
        raise pytest.UsageError(f"{path}: tests belong in one of {', '.join(COSTS)}")
    return folder
