"""Callers that know nothing but Celery: an environment that holds only `celery[redis]`."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

from tests.e2e.fleet import picture, running_fleet
from visionq.errors import JobFailed
from visionq.sandbox.sample_pictures import sample_pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.fleet import Fleet

_CALLER = """
import json, sys
assert not any(name.split(".")[0] in ("visionq", "worker", "pydantic") for name in sys.modules)
try:
    import visionq
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("visionq is installed here")
from celery import Celery
app = Celery(broker=sys.argv[1], backend=sys.argv[1])
call = json.loads(sys.argv[2])
result = app.send_task("visionq.analyze", **call)
try:
    answer = result.get(timeout=60)
except Exception as error:
    reply = {"error": str(error)}
else:
    reply = {"answer": answer}
print(json.dumps({"id": result.id, "state": result.state, **reply}, ensure_ascii=False))
"""


@pytest.fixture(scope="module")
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Link the files of `celery[redis]`, and of what that needs, into an empty directory."""
    folder = tmp_path_factory.mktemp("celery-redis-only")
    done: set[str] = set()
    wanted = [Requirement("celery[redis]")]
    while wanted:
        requirement = wanted.pop()
        key = f"{requirement.name}[{','.join(sorted(requirement.extras))}]".lower()
        if key in done:
            continue
        done.add(key)
        package = distribution(requirement.name)
        for file in package.files or ():
            top = file.parts[0]
            target = folder / top
            if top not in ("..", "__pycache__") and not target.exists():
                target.symlink_to(Path(str(package.locate_file(top))))
        for text in package.requires or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                wanted.append(needed)
    return folder


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), workers=1) as running:
        yield running


def call(environment: Path, fleet: Fleet, **options: Any) -> dict[str, Any]:
    program = f"import sys; sys.path.insert(0, {str(environment)!r})\n{_CALLER}"
    # -S: no site-packages; -E: no PYTHONPATH; -P: not this directory.
    command = [sys.executable, "-S", "-E", "-P", "-c", program, fleet.server.url]
    ended = subprocess.run(
        [*command, json.dumps(options)], check=False, capture_output=True, text=True, timeout=90
    )
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


@pytest.mark.parametrize("options", [{}, {"queue": "visionq.intake"}], ids=["default", "intake"])
def test_a_plain_call_is_answered(
    bare_environment: Path, fleet: Fleet, options: dict[str, str]
) -> None:
    """`send_task` with nothing configured but the address gets the result document."""
    data = base64.b64encode(picture(7)).decode()
    kwargs = {"prompt": "Что изображено?", "images": [{"url": f"data:image/png;base64,{data}"}]}
    reply = call(
        bare_environment, fleet, kwargs={**kwargs, "metadata": {"артикул": "7"}}, **options
    )
    assert reply["state"] == "SUCCESS"
    assert reply["answer"]["id"] == reply["id"]
    assert "64x48" in reply["answer"]["text"]
    assert reply["answer"]["metadata"] == {"артикул": "7"}
    assert fleet.client.get(reply["id"]).state == "completed"


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({}, "invalid_job: prompt"),
        ({"prompt": "?"}, "invalid_job: images"),
        ({"prompt": "?", "images": [{"url": "http://x/"}], "colour": 1}, "invalid_job: colour"),
        ({"prompt": "?", "images": [{"link": "http://x/"}]}, "invalid_job: images.0"),
        ({"prompt": "?", "images": [{"url": "data:image/png;base64,@"}]}, "images.0.url"),
        ({"prompt": "?", "images": [{"blob": "0" * 64}]}, "blob_missing"),
        ({"prompt": "?", "images": [{"url": "ftp://x/a.png"}]}, "unsafe_url"),
    ],
)
def test_a_malformed_document_fails_with_its_field(
    bare_environment: Path, fleet: Fleet, kwargs: dict[str, Any], says: str
) -> None:
    """A document that can't be used ends in FAILURE with its code and field; the worker lives."""
    reply = call(bare_environment, fleet, kwargs=kwargs)
    assert reply["state"] == "FAILURE"
    assert says in reply["error"]
    assert fleet.workers[0].poll() is None


def test_positional_arguments_are_refused_by_name(bare_environment: Path, fleet: Fleet) -> None:
    """Arguments without names fail with a line that says how to send the document."""
    reply = call(bare_environment, fleet, args=["Что изображено?"])
    assert reply["state"] == "FAILURE"
    assert "invalid_job: args" in reply["error"]


def test_bad_pictures_fail_with_their_code(fleet: Fleet) -> None:
    """Each kind of file that people send by mistake has its code, and none is paid."""
    refused = [sample for sample in sample_pictures() if sample.refused_as]
    billed = fleet.simulator.bill()["billed"]
    for sample in refused:
        if not sample.content:
            continue
        job = fleet.client.submit(prompt="?", images=[sample.content])
        with pytest.raises(JobFailed) as failure:
            job.wait(timeout=20)
        assert failure.value.code == sample.refused_as, sample.name
    unknown = fleet.client.submit(prompt="?", images=[picture(3)], model="no-such-model")
    with pytest.raises(JobFailed, match="no-such-model") as failure:
        unknown.wait(timeout=20)
    assert failure.value.code == "model_not_found"
    assert fleet.simulator.bill()["billed"] == billed
    assert fleet.workers[0].poll() is None
