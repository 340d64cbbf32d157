"""Near-duplicates, with a real Redis and the simulator: whose answer a picture gets."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.alike import scene, touched
from tests.support.awaited import Awaited
from tests.support.pictures import encoded, picture
from tests.support.worker import Bench, result
from visionq.contract import DelayReason
from visionq.errors import InvalidJob
from visionq.ledger import Waiting, near_answers
from visionq.ledger.metrics import read_counters
from visionq.ledger.near_answers import NearAnswers, NearPicture
from visionq.names import ANSWER, NEAR_HASHES
from visionq.pricing.money import nano_rubles
from worker.images.alike import hash_of
from worker.pipeline import steps, together
from worker.work import work

if TYPE_CHECKING:
    from redis import Redis


def index(redis: Redis) -> NearAnswers:
    """Return the index of another process."""
    client: Any = Awaited(redis)
    return NearAnswers(client, 3600, time.time)


@pytest.fixture
def near(bench: Bench) -> Bench:
    bench.replaced(near_answers=index(bench.redis))
    return bench


def png(seed: int) -> bytes:
    return encoded(scene(seed), "PNG")


def jpeg(seed: int) -> bytes:
    return encoded(scene(seed), "JPEG", quality=70)


def test_a_near_duplicate_gets_the_answer(near: Bench) -> None:
    """It is free, and says whose answer it is, how far that picture is, and which it is itself."""
    paid = near.answer(png(1), near=4)
    free = near.answer(jpeg(1), near=4, names=["again.jpg"])
    assert near.simulator.bill()["calls"] == 1
    assert (free.text, free.cached, free.cost_rub) == (paid.text, True, Decimal(0))
    assert free.near is not None
    assert (free.near.job_id, free.near.sha256) == (paid.id, paid.images[0].sha256)
    assert free.near.distance <= 4
    assert paid.near is None
    assert free.images[0].name == "again.jpg"
    assert free.images[0].sha256 != paid.images[0].sha256
    assert near.money()["saved"] == nano_rubles(paid.cost_rub)
    assert near.is_booked()
    sources = {labels[2] for labels in read_counters(near.redis).of("answers", 3)}
    assert sources == {"provider", "near"}


def test_only_jobs_that_want_it_get_it(near: Bench) -> None:
    """A job without `near` is asked, also after its picture was given another's answer."""
    near.answer(png(2), near=4)
    assert near.answer(jpeg(2), near=4).near is not None
    own = near.answer(jpeg(2))
    assert (own.near, own.cached) == (None, False)
    assert near.simulator.bill()["calls"] == 2


@pytest.mark.parametrize(
    "other",
    [{"prompt": "Where?"}, {"tenant": "other"}, {"model": "gpt-6.1-terra"}, {"detail": "low"}],
)
def test_another_question_is_asked(near: Bench, other: dict[str, str]) -> None:
    """Another prompt, tenant, model or detail is another question, and finds nothing."""
    near.answer(png(3), near=10)
    assert near.answer(jpeg(3), near=10, **other).near is None
    assert near.simulator.bill()["calls"] == 2


def test_what_is_too_far_is_asked(near: Bench) -> None:
    """A changed picture is asked about where the distance is more than the job allows."""
    near.answer(png(4), near=0)
    changed = encoded(touched(scene(4), 120), "PNG")
    assert near.answer(changed, near=0).near is None
    assert near.answer(png(5), near=10).near is None


def test_plain_pictures_are_asked(near: Bench) -> None:
    """Flat pictures have no hash: all of them are asked, at any distance."""
    for number in (1, 2, 3):
        assert near.answer(picture(number), near=10).near is None
    assert near.simulator.bill()["calls"] == 3
    assert list(near.redis.scan_iter(f"{NEAR_HASHES}*")) == []


def test_several_pictures_are_asked(near: Bench) -> None:
    """A job with several pictures is asked."""
    near.answer(png(6), png(7), near=10)
    assert near.answer(jpeg(6), jpeg(7), near=10).near is None


def test_an_answer_is_given_no_further(near: Bench) -> None:
    """An answer that a near-duplicate was given goes no further."""
    near.answer(png(8), near=4)
    assert near.answer(jpeg(8), near=4).near is not None
    assert len(list(near.redis.scan_iter(f"{ANSWER}*"))) == 1
    (hashes,) = near.redis.scan_iter(f"{NEAR_HASHES}*")
    assert near.redis.strlen(hashes) == 88


def test_a_call_that_is_out_is_waited_for(near: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a picture is asked about, its near-duplicate waits for the answer, also elsewhere."""
    first, second = near.submit(png(9), near=4), near.submit(jpeg(9), near=4)
    near.hint(first)
    near.hint(second)
    ask, met = vars(steps)["ask_provider"], []

    async def meanwhile(*given: Any, **more: Any) -> Any:
        elsewhere = replace(near.dependencies, near_answers=index(near.redis))
        met.append(await work(second, elsewhere, near.leases, near.here))
        return await ask(*given, **more)

    monkeypatch.setattr(steps, "ask_provider", meanwhile)
    result(near.work(first))
    assert met == [Waiting(DelayReason.FOLLOWS, 0, counted=False)]
    monkeypatch.undo()
    assert result(near.run(second)).near is not None
    assert near.simulator.bill()["calls"] == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_of_two_at_once_the_second_waits(near: Bench, processes: int) -> None:
    """Of two that found nothing, the one that enters later sees the other.

    Also where a third has made their process read on meanwhile.
    """
    one, *others = [index(near.redis) for _ in range(processes)]
    other = others[0] if others else one
    first, second, third = (
        hash_of(Image.open(BytesIO(data))) for data in (png(20), jpeg(20), png(21))
    )
    assert first is not None
    assert second is not None
    assert third is not None
    keys = [NearPicture(f"{n:064x}", 4) for n in range(3)]

    async def race() -> list[Any]:
        found = await one.find("q", keys[0], first)
        later = await other.find("q", keys[1], second)
        entered = await one.enter(found, keys[0], first)
        await other.find("q", keys[2], third)
        return [found.match, later.match, entered, await other.enter(later, keys[1], second)]

    *nothing, seen = near.loop.run(race())
    assert nothing == [None] * 3
    assert seen is not None
    assert seen.picture.cache_key == keys[0].cache_key


def test_each_question_of_a_shared_call_is_found(
    near: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions that were answered together are found for a near-duplicate, each by itself."""
    monkeypatch.setattr(together, "WINDOW", 0)

    def asked(data: bytes) -> list[str]:
        questions = ("What is it?", "Is it new?", "Whose is it?")
        return [near.submit(data, near=4, together=True, prompt=one) for one in questions]

    jobs = asked(png(22))
    near.run(jobs[0])  # and with it the others
    free = [result(near.run(one)) for one in asked(jpeg(22))]
    assert near.simulator.bill()["calls"] == 1
    assert [one.near and one.near.job_id for one in free] == jobs
    assert near.is_booked()


def test_a_failed_call_leaves_no_answer(near: Bench) -> None:
    """A near-duplicate of a picture without an answer is asked."""
    near.simulator.configure(faults_next=["refusal"])
    near.failure(png(10), near=4)
    assert near.answer(jpeg(10), near=4).near is None


def test_the_index_is_bounded(near: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full index takes no more pictures, and expires with the answers."""
    monkeypatch.setattr(near_answers, "MOST_HASHES", 1)
    near.answer(png(11), near=4)
    near.answer(png(12), near=4)
    (hashes,) = near.redis.scan_iter(f"{NEAR_HASHES}*")
    assert near.redis.strlen(hashes) == 88
    assert 0 < near.redis.ttl(hashes) <= 7200
    assert near.answer(jpeg(12), near=4).near is None


def test_an_emptied_redis_is_noticed(near: Bench) -> None:
    """A process forgets what it has read of an index that is gone."""
    near.answer(png(13), near=4)
    near.redis.flushall()
    near.answer(png(14), near=4)
    assert near.answer(jpeg(14), near=4).near is not None
    assert near.answer(jpeg(13), near=4).near is None


@pytest.mark.parametrize("wrong", [{"near": 11}, {"near": -1}, {"near": 2, "reuse": "off"}])
def test_bad_input_is_one_line(near: Bench, wrong: dict[str, Any]) -> None:
    """A distance out of range, or one that reuse contradicts, is refused, unpaid."""
    with pytest.raises(InvalidJob, match=r"^invalid_job: near: [^\n]+$"):
        near.submit(png(1), **wrong)
