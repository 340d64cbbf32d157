"""The names that other services import: they stay, they are light, and they say no more."""

from __future__ import annotations

import inspect
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

import visionq
from visionq import errors, sdk


@cache
def modules_after(statement: str) -> frozenset[str]:
    """Return the modules that a statement loads in a new interpreter."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return frozenset(done.stdout.split())


def test_exports() -> None:
    """The package exports exactly the names of the documented SDK, each of them there."""
    names = ["AsyncClient", "Client", "Job", "JobFailed", "QueueUnavailable", "WaitTimeout"]
    assert names == visionq.__all__
    for name in names:
        assert getattr(visionq, name).__name__ == name
    assert set(names) <= set(dir(visionq))
    assert (visionq.map.__name__, visionq.quote.__name__) == ("map_frame", "quote_frame")
    names = ["AsyncClient", "AsyncJob", "Client", "ImageInput", "Job", "TypedResult"]
    assert sorted(sdk.__all__) == names


def test_no_other_names() -> None:
    """A name that is not there is an ordinary AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = visionq.Nothing


def test_import_is_light() -> None:
    """Importing visionq alone loads no other package."""
    assert not modules_after("import visionq") & {"pydantic", "redis", "click", "rich"}


def test_clients_are_light() -> None:
    """The clients load no broker, picture library, model SDK, web framework or command line."""
    heavy = {"PIL", "aiohttp", "celery", "click", "kombu", "numpy", "openai", "rich"}
    assert not modules_after("from visionq import AsyncClient, Client") & heavy


@pytest.mark.parametrize(
    "statement", ["import visionq", "from visionq import Client", "import worker.celery.tasks"]
)
def test_optional_packages_stay_optional(statement: str) -> None:
    """Clients and workers load nothing of notebooks, tables, agents, tests or web servers."""
    # Not Django: kombu's JSON loads it wherever it is installed.
    notebooks = {"IPython", "narwhals", "pandas", "polars", "pyarrow"}
    tables = {"arro3", "openpyxl", "xlsxwriter"}
    servers = {"fastapi", "mcp", "pytest", "uvicorn"}
    assert not modules_after(statement) & (notebooks | tables | servers)


@pytest.mark.parametrize("statement", ["import visionq.sdk", "from visionq import Client"])
def test_clients_load_few_modules(statement: str) -> None:
    """Importing the clients loads at most 27 modules of visionq; the rest comes with a client."""
    ours = {name for name in modules_after(statement) if name.partition(".")[0] == "visionq"}
    assert len(ours) <= 27, sorted(ours)


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("WaitTimeout", TimeoutError),
        ("QueueUnavailable", ConnectionError),
        ("JobFailed", errors.VisionqError),
    ],
)
def test_errors(name: str, parent: type[Exception]) -> None:
    """Errors are also what callers who know nothing of visionq would catch."""
    assert issubclass(getattr(visionq, name), parent)


def parameters(function: Any) -> list[str]:
    return [str(one).partition(":")[0] for one in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("client", [visionq.Client, visionq.AsyncClient])
def test_signatures(client: Any) -> None:
    """Both clients take the same arguments under the same names."""
    submit = ["self", "prompt", "images", "idempotency_key", "**options"]
    assert parameters(client.submit) == submit
    assert parameters(client.submit_many) == ["self", "jobs"]
    assert parameters(client.get) == ["self", "job"]
    assert parameters(client.cancel) == ["self", "job"]
    assert parameters(client.wait) == ["self", "job", "timeout", "schema"]
    question = ["self", "image", "prompt", "schema", "timeout", "**options"]
    assert parameters(client.analyze) == question
    assert parameters(client.results) == ["self", "jobs", "timeout", "schema"]
    assert parameters(client.stream) == ["self", "jobs", "window", "schema"]
    assert parameters(client.__init__) == ["self", "settings", "redis_url"]


@pytest.mark.parametrize("job", [sdk.Job, sdk.AsyncJob])
def test_jobs(job: Any) -> None:
    """A job has an id and can be waited for, looked at and cancelled; clients don't show."""
    assert parameters(job.wait) == ["self", "timeout", "schema"]
    assert parameters(job.status) == parameters(job.cancel) == ["self"]
    made = job("j1", created=True, _client=None)
    assert repr(made) == f"{job.__name__}(id='j1', created=True)"
    assert {made, job("j1", created=False, _client=7)} == {made}


def test_old_name_of_the_devstack() -> None:
    """`visionq.sandbox` warns, and is `visionq.devstack` with the same modules."""
    program = (
        "import warnings; warnings.simplefilter('always')\n"
        "from visionq.sandbox.redis_server import RedisServer as old\n"
        "from visionq.devstack.redis_server import RedisServer as new\n"
        "assert old is new"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "visionq.sandbox is now visionq.devstack" in done.stderr
