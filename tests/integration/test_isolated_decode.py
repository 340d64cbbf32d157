"""Pictures that may have killed workers are prepared in a process of their own."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pictures import picture
from tests.support.worker import Bench, result
from visionq.contract import Detail, InvalidAnswer, JobDocument, PictureOptions
from visionq.errors import InternalError, InvalidJob, NotAnImage, Quarantined
from visionq.ledger import Failed
from visionq.pricing.vision import load_rules
from worker.images import ImageLimits
from worker.isolated_decode import DryRun, IsolatedDecoder, PictureTask

if TYPE_CHECKING:
    from collections.abc import Iterator


def task(content: bytes) -> PictureTask:
    return PictureTask(
        content, "a.png", ImageLimits(), PictureOptions(), load_rules(), "gpt-5.4-mini", Detail.AUTO
    )


class Deed(str):
    """Is done by the process that unpickles it."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"import os, signal, time; {self}",)


def deadly(code: str) -> PictureTask:
    """Return a task that does this to its process before anything else."""
    return replace(task(b""), name=Deed(code))


@pytest.fixture
def alone() -> Iterator[IsolatedDecoder]:
    with closing(IsolatedDecoder(seconds=30)) as alone:
        yield alone


def test_the_same_comes_of_a_picture(alone: IsolatedDecoder) -> None:
    """A picture comes out as the worker itself would send it."""
    content = picture(5)
    prepared = alone.prepare(task(content))
    (sent,) = prepared.sent
    assert (sent.data, sent.width, sent.height) == (content, 64, 48)
    assert (prepared.source.format, prepared.source.bytes) == ("png", len(content))


def test_crops_come_of_it_as_well(alone: IsolatedDecoder) -> None:
    """A picture to cut comes out in all its crops."""
    tall = replace(task(picture(5, (600, 15_000))), options=PictureOptions(crops=True))
    sizes = [(one.width, one.height) for one in alone.prepare(tall).sent]
    assert sizes == [(450, 2048)] * 6


def test_what_is_wrong_with_a_picture_is_told(alone: IsolatedDecoder) -> None:
    """A bad picture fails with its own error, not with that of a process."""
    with pytest.raises(NotAnImage) as caught:
        alone.prepare(task(b"no picture at all"))
    assert caught.value.image == "a.png"


def test_a_death_is_the_pictures(alone: IsolatedDecoder) -> None:
    """A process that dies counts against its picture, and the next picture has one of its own."""
    for death in ("os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "os._exit(3)"):
        with pytest.raises(Quarantined, match=r"SIGKILL|SIGABRT|exit code 3"):
            alone.prepare(deadly(death))
    assert alone.prepare(task(picture(6))).source.format == "png"


def test_no_end_is_as_bad_as_a_death() -> None:
    """A picture on which a process hangs is quarantined when the time is over."""
    with (
        closing(IsolatedDecoder(seconds=0.5)) as hasty,
        pytest.raises(Quarantined, match=r"took longer than 0\.5 s"),
    ):
        hasty.prepare(deadly("time.sleep(60)"))


def test_a_process_that_was_ended_says_nothing(alone: IsolatedDecoder) -> None:
    """A decoder that was stopped from outside is tried again at no picture's expense."""
    with pytest.raises(InternalError) as caught:
        alone.prepare(deadly("os.kill(os.getpid(), signal.SIGTERM)"))
    assert caught.value.retryable


@pytest.mark.parametrize(
    "command", [(sys.executable, "-c", "raise SystemExit(3)"), ("/nonexistent/python",)]
)
def test_a_process_that_never_ran_says_nothing(command: tuple[str, ...]) -> None:
    """A decoder that can't be started is tried again as well."""
    with closing(IsolatedDecoder(command)) as alone, pytest.raises(InternalError) as caught:
        alone.prepare(task(picture(7)))
    assert caught.value.retryable


def question(**fields: Any) -> DryRun:
    document = {"prompt": "?", "images": [{"url": "https://example.com/a.png"}], **fields}
    job = JobDocument.model_validate({"model": "gpt-5.4-mini", "max_output_tokens": 99, **document})
    return DryRun(job.to_compact_json())


def test_a_question_is_tried_without_its_pictures(alone: IsolatedDecoder) -> None:
    """A good one passes, also where an answer needs repair; what is wrong is reported."""
    good = question(answer_schema={"type": "object"}, pictures={"logo": "warn"})
    alone.dry_run(good)
    invalid = InvalidAnswer(text="no", validation_error="not JSON", cache_key="")
    alone.dry_run(replace(good, invalid=invalid.model_dump_json()))
    with pytest.raises(InvalidJob, match="objekt"):
        alone.dry_run(question(answer_schema={"type": "objekt"}))


@pytest.mark.parametrize(
    ("deed", "validation_error"),
    [
        ("os.abort()", "SIGABRT"),
        ("import re; re.match('(a+)+$', 'a' * 64 + '!')", "took longer than"),
    ],
)
def test_a_question_may_kill_too(deed: str, validation_error: str) -> None:
    """A text that kills its process is found out as a picture is."""
    with (
        closing(IsolatedDecoder(seconds=1)) as hasty,
        pytest.raises(Quarantined, match=validation_error),
    ):
        hasty.dry_run(DryRun(Deed(deed)))  # done by who unpickles it


def test_who_was_killed_between_two_pictures_is_started_again(alone: IsolatedDecoder) -> None:
    """The process from which others are forked may die as well, at the cost of one retry."""
    alone.prepare(task(picture(8)))
    assert alone._server is not None
    alone._server.kill()
    alone._server.wait()
    with pytest.raises(InternalError):
        alone.prepare(task(picture(8)))
    assert alone.prepare(task(picture(8))).source.format == "png"


def die(bench: Bench, job_id: str, times: int) -> None:
    bench.redis.hset(f"visionq:job:{job_id}", "lapses", str(times))


@pytest.mark.parametrize("deaths", [1, 2, 7])
def test_a_good_picture_is_answered_however_often_workers_died(bench: Bench, deaths: int) -> None:
    """Workers killed for other reasons quarantine nothing; the result tells of the picture."""
    job = bench.submit(picture(deaths))
    die(bench, job, deaths)
    answer = result(bench.run(job))
    assert "64x48" in answer.text
    assert answer.images[0].source is not None
    assert answer.images[0].source.format == "png"


def test_a_bad_picture_is_refused_as_ever(bench: Bench) -> None:
    """The error of a suspect job's picture names it, and costs nothing."""
    job = bench.submit(b"no picture", names=["x.png"])
    die(bench, job, 2)
    outcome = bench.run(job)
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.image) == ("not_an_image", "x.png")


def test_no_job_takes_workers_along_for_ever(bench: Bench) -> None:
    """A job that goes on killing before its call, in any way, is quarantined."""
    job = bench.submit(picture(3))
    die(bench, job, 15)
    outcome = bench.run(job)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "quarantined"
