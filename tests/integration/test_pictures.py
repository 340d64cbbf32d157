"""Pictures and what jobs ask of them, through a worker's insides and the real simulator."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageDraw

from tests.support.pictures import encoded
from tests.support.waiting import until
from tests.support.worker import served
from visionq.contract import Api, UrlMode
from visionq.ledger import Completed
from visionq.pricing.vision import load_rules
from worker.images import ImageLimits, MemoryLimiter, PrepareSlots
from worker.runtime import image_limits

if TYPE_CHECKING:
    from tests.support.worker import Bench
    from visionq.contract import ResultDocument

SIZE = (400, 300)
COLOUR = (200, 120, 40)
SCHEMA = {
    "type": "object",
    "properties": {"description": {"type": "string"}},
    "required": ["description"],
    "additionalProperties": False,
}


def scene() -> Image.Image:
    picture = Image.new("RGB", SIZE, COLOUR)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((10, 10, 120, 60), fill="white")
    draw.text((20, 20), "Invoice", fill="black")
    return picture


def seen(answer: ResultDocument) -> tuple[str, tuple[int, ...]]:
    """Return size and dominant colour as the simulator read them from the pixels."""
    found = re.search(r"(\d+x\d+), mostly #(\w{6})", answer.text)
    assert found is not None, answer.text
    return found[1], tuple(bytes.fromhex(found[2]))


def turned(image: Image.Image) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return image.transpose(Image.Transpose.ROTATE_90), exif


def copies() -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Return the same picture in forms that must all be encoded again."""
    sideways, exif = turned(scene())
    clear = scene().convert("RGBA")
    return {
        "turned jpeg": (encoded(sideways, "jpeg", quality=95, exif=exif), {}),
        "turned png": (encoded(sideways, "png", exif=exif), {}),
        "cmyk jpeg": (encoded(scene().convert("CMYK"), "jpeg", quality=95), {}),
        "bmp": (encoded(scene(), "bmp"), {"convert": True}),
        "tiff": (encoded(scene(), "tiff"), {"convert": True}),
        "avif": (encoded(scene(), "avif", quality=90), {"convert": True}),
        "opaque alpha": (encoded(clear, "webp", lossless=True), {"flatten": True}),
    }


@pytest.mark.parametrize("name", copies())
@pytest.mark.parametrize("api", list(Api))
def test_copies_differ_in_nothing_but_bytes(bench: Bench, name: str, api: Api) -> None:
    """The simulator sees one size, one way up and one colour, passed through or encoded again."""
    original = encoded(scene(), "png")
    data, options = copies()[name]
    passed = bench.answer(original, api=api, reuse="off")
    again = bench.answer(data, api=api, pictures=options, reuse="off")
    sent = passed.images[0].sent
    assert sent is not None
    assert sent.bytes == len(original)
    (size, colour), (other_size, other_colour) = seen(passed), seen(again)
    assert size == other_size == "400x300"
    assert all(abs(a - b) <= 0.02 * 255 for a, b in zip(colour, other_colour, strict=True))


@pytest.mark.parametrize("api", list(Api))
@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_the_model_reports_in_the_same_call(
    bench: Bench, api: Api, schema: dict[str, Any] | None
) -> None:
    """Text and logo are asked for in the one paid call, and listed in the picture's report."""
    answer = bench.answer(
        encoded(scene(), "png"),
        api=api,
        answer_schema=schema,
        pictures={"text": "warn", "logo": "warn"},
    )
    assert bench.simulator.bill()["calls"] == 1
    # The simulator says yes to every question of the first picture.
    assert {"the model sees text", "the model sees logo"} <= set(answer.images[0].warnings)
    assert "picture_report" not in answer.text
    assert (answer.data is None) == (schema is None)
    assert "400x300" in answer.text


def test_what_the_model_rejects_is_paid_and_kept(bench: Bench) -> None:
    """A picture that the model finds against the policy fails the job at the price of the call."""
    error = bench.failure(encoded(scene(), "png"), names=["a.png"], pictures={"nsfw": "reject"})
    assert (error.code, error.image) == ("picture_rejected", "a.png")
    assert error.cost_rub > 0
    assert error.text
    assert bench.money()["settled"] > 0
    assert "reserved" not in bench.money()


def test_what_the_worker_rejects_is_free(bench: Bench) -> None:
    """A blank picture is refused before the call where the job insists."""
    blank = encoded(Image.new("RGB", SIZE, "white"), "png")
    error = bench.failure(blank, names=["a.png"], pictures={"blank": "reject"})
    assert (error.code, error.image) == ("picture_rejected", "a.png")
    assert error.cost_rub == 0
    assert bench.simulator.bill()["calls"] == 0


def test_warnings_come_again_with_a_stored_answer(bench: Bench) -> None:
    """An answer that is reused tells of its pictures what the first one did, under their names."""
    blank = encoded(Image.new("RGB", SIZE, "white"), "png")
    first = bench.answer(blank, names=["a.png"])
    second = bench.answer(blank, names=["b.png"])
    assert second.cached
    assert [report.name for report in second.images] == ["b.png"]
    assert second.images[0].warnings == first.images[0].warnings != ()


def test_options_are_part_of_the_question(bench: Bench) -> None:
    """An answer to a question with other options is not given again."""
    data = encoded(scene(), "png")
    assert not bench.answer(data).cached
    assert not bench.answer(data, pictures={"text": "warn"}).cached
    assert bench.answer(data, pictures={"text": "warn"}).cached
    assert bench.answer(data, pictures={"text": "off", "blur": "warn"}).cached


class SeesText:
    requirement = "text"

    def find(self, picture: bytes) -> str | None:
        return f"text in the picture: {len(picture) > 0}"


def test_a_local_detector_is_asked_instead_of_the_model(bench: Bench) -> None:
    """A check made here is not asked of the model, unless the provider fetches the picture."""
    bench.replaced(detectors=(SeesText(),))
    error = bench.failure(encoded(scene(), "png"), pictures={"text": "reject"})
    assert error.code == "picture_rejected"
    assert error.cost_rub == 0
    told = bench.answer(encoded(scene(), "png"), pictures={"text": "warn"})
    assert "text in the picture: True" in told.images[0].warnings
    assert "the model sees text" not in told.images[0].warnings


@pytest.mark.parametrize(
    ("pictures", "skipped"),
    [
        ({"blur": "reject", "dark": "off"}, "not looked at for blur"),
        ({"crops": True}, "not cut into crops"),
    ],
)
def test_what_the_provider_fetches(bench: Bench, pictures: dict[str, Any], skipped: str) -> None:
    """The report names what can't be done to an address that goes out as it is."""
    with served({"/a.png": encoded(scene(), "png")}) as address:
        answer = bench.answer(f"{address}/a.png", url_mode=UrlMode.PASS, pictures=pictures)
    assert answer.images[0].warnings == (f"{skipped}: the provider fetches it",)


def test_too_many_bytes_together(bench: Bench) -> None:
    """Pictures that are too much for one request are refused before it is sent, with the figure."""
    bench.replaced(limits=ImageLimits(max_request_bytes=3000))
    noise = [encoded(Image.effect_noise((40, 30), 90), "png") for _ in range(4)]
    error = bench.failure(*noise, names=["a", "b", "c", "d"])
    assert error.code == "too_large"
    assert "3,000 bytes" in error.message
    assert bench.simulator.bill()["calls"] == 0


def test_too_many_pictures(bench: Bench) -> None:
    """More pictures than the provider takes in a request fail before anything is read."""
    rules = load_rules()
    few = rules.model_copy(update={"request": rules.request.model_copy(update={"max_images": 1})})
    bench.replaced(rules=few)
    error = bench.failure(encoded(scene(), "png"), encoded(scene(), "jpeg"))
    assert error.code == "invalid_job"
    assert "2 pictures" in error.message


def test_bytes_are_given_back(bench: Bench) -> None:
    """However a job ends, the process holds none of its bytes afterwards, and no place."""
    memory = MemoryLimiter(1000)
    bench.replaced(memory=memory, prepare_slots=PrepareSlots(1))
    bench.answer(encoded(scene(), "png"), encoded(scene(), "jpeg"))
    bench.failure(b"no picture")
    bench.failure(encoded(scene(), "png"), pictures={"nsfw": "reject"})
    assert memory.used == 0


def test_few_originals_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many jobs have pictures to prepare, as many as there are places have read theirs."""
    read: list[str] = []
    get = bench.blobs.get

    def noted(sha: str) -> bytes:
        read.append(sha)
        return get(sha)

    monkeypatch.setattr(bench.blobs, "get", noted)
    bench.replaced(prepare_slots=PrepareSlots(3))  # one is left to other tenants
    slots = bench.dependencies.decode_slots
    jobs = [bench.submit(encoded(scene().rotate(angle), "png")) for angle in range(6)]
    for job in jobs:
        bench.hint(job)
    with ThreadPoolExecutor(len(jobs)) as threads:
        held = [slots.held(tenant, 1) for tenant in ("one", "another")]
        for slot in held:
            bench.loop.run(slot.__aenter__())
        try:
            ends = [threads.submit(bench.work, job) for job in jobs]
            until(lambda: len(read) >= 2)
            time.sleep(0.2)
            assert len(read) == 2
        finally:
            for slot in held:
                bench.loop.run(slot.__aexit__(None, None, None))
        assert all(isinstance(end.result(), Completed) for end in ends)
    assert len(read) == len(jobs)


def test_originals_beyond_what_is_kept_are_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of more originals than a worker keeps at once is answered all the same."""
    from worker.pipeline import picture_steps  # noqa: PLC0415  # the module, to change it

    monkeypatch.setattr(picture_steps, "_KEPT_BYTES", 1500)
    several = [encoded(scene().rotate(angle), "png") for angle in (0, 90, 180)]
    answer = bench.answer(*several)
    assert len(answer.images) == 3
    assert all(report.sent for report in answer.images)
    assert bench.dependencies.memory.used == 0


def test_limits_are_the_smaller_ones(bench: Bench) -> None:
    """An operator narrows what the provider takes, and can't widen it."""
    request = load_rules().request
    limits = image_limits(bench.settings, request)
    assert limits.max_bytes == limits.max_base64_bytes == 20_000_000
    assert limits.max_sent_bytes == 15_000_000
    wide = bench.settings.model_copy(update={"max_image_bytes": 99_000_000})
    assert image_limits(wide, request).max_bytes == 20_000_000
    narrow = bench.settings.model_copy(update={"max_image_bytes": 1000})
    assert image_limits(narrow, request).max_bytes == 1000


def test_what_the_model_sees_in_a_crop_is_of_its_picture(bench: Bench) -> None:
    """The model reports on every crop, and what it finds is with the picture that was cut."""
    long = Image.new("RGB", (300, 9000), COLOUR)
    ImageDraw.Draw(long).text((20, 20), "Invoice", fill="black")
    fields: dict[str, Any] = {"model": "gpt-6-luna", "detail": "high", "names": ["a", "b", "c"]}
    pictures = (encoded(long, "png"), encoded(scene(), "png"), encoded(long.rotate(180), "png"))
    told = bench.answer(*pictures, pictures={"crops": True, "text": "warn"}, **fields)
    counts = [len(report.crops) for report in told.images]
    assert counts == [4, 0, 4]
    # The simulator says yes to every question.
    assert all("the model sees text" in report.warnings for report in told.images)
    error = bench.failure(*pictures, pictures={"crops": True, "text": "reject"}, **fields)
    assert (error.code, error.image) == ("picture_rejected", "a")


def test_crops_that_are_too_many_are_refused_unpaid(bench: Bench) -> None:
    """More pictures with their crops than one request takes are refused before the call."""
    rules = load_rules()
    few = rules.model_copy(update={"request": rules.request.model_copy(update={"max_images": 7})})
    bench.replaced(rules=few)
    long = encoded(Image.new("RGB", (300, 9000), COLOUR), "png")
    fields: dict[str, Any] = {"model": "gpt-6-luna", "detail": "high", "pictures": {"crops": True}}
    assert len(bench.answer(long, **fields).images[0].crops) == 4
    error = bench.failure(long, long, **fields)
    assert error.code == "invalid_job"
    assert error.cost_rub == 0
    assert "images: 2 pictures, 8 with their crops" in error.message
    assert bench.simulator.bill()["calls"] == 1
    assert "reserved" not in bench.money()
