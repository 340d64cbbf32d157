"""Callers that know nothing but Celery: an environment that holds only `celery[redis]`."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bare_celery import run_caller
from tests.support.fleet import running_fleet
from tests.support.pictures import picture
from visionq.devstack.sample_pictures import sample_pictures
from visionq.errors import JobFailed
from visionq.names import QUEUE_INTAKE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    extra = {"VISIONQ_CONSUME_DEFAULT_QUEUE": "1"}
    with running_fleet(tmp_path_factory.mktemp("fleet"), workers=1, extra=extra) as running:
        yield running


def call(environment: Path, fleet: Fleet, **options: Any) -> dict[str, Any]:
    program = 'reply(outcome(app.send_task("visionq.analyze", **given)))'
    answer: dict[str, Any] = run_caller(
        environment, fleet, program, **{"queue": QUEUE_INTAKE, **options}
    )
    return answer


@pytest.mark.parametrize("queue", ["celery", "visionq.intake"])
def test_a_plain_call_is_answered(bare_environment: Path, fleet: Fleet, queue: str) -> None:
    """`send_task` with nothing configured but the address gets the result document."""
    data = base64.b64encode(picture(7)).decode()
    kwargs = {"prompt": "Что изображено?", "images": [{"url": f"data:image/png;base64,{data}"}]}
    reply = call(
        bare_environment, fleet, kwargs={**kwargs, "metadata": {"артикул": "7"}}, queue=queue
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
