"""Long pictures cut into crops, by every way in: what is sent is what was quoted, and is billed."""

from __future__ import annotations

import base64
import json
import re
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageDraw

from tests.support.bare_celery import install_celery_alone, run_caller
from visionq.contract import PictureOptions
from visionq.pricing.money import nano_rubles

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Fleet
    from tests.support.gateway import Gateway

pytestmark = pytest.mark.e2e

TALL, WIDE = (600, 15_000), (15_000, 600)
FIELDS: dict[str, Any] = {"prompt": "Что написано?", "model": "gpt-6-luna", "detail": "high"}
CROPS = {"crops": True}


def screenshot(size: tuple[int, int], seed: int) -> bytes:
    """Return a page of lines unlike that of any other seed."""
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for number, step in enumerate(range(0, max(size), 50)):
        place = (12, step) if size[1] > size[0] else (step, 12 + number % 9 * 60)
        draw.text(place, f"line {number} of {seed}", fill="black")
    target = BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


def sizes_in(text: str) -> list[str]:
    """Return the sizes of all pictures that the simulator was shown."""
    return re.findall(r"(\d+x\d+), (?:mostly|основной)", text)


def assert_books_agree(fleet: Fleet) -> None:
    """The ledger has settled to the nano-ruble what the simulator has billed, and nothing else."""
    billed = nano_rubles(Decimal(fleet.simulator.bill()["rub"]))
    assert {
        name: amount for name, amount in fleet.money().items() if amount and name != "saved"
    } == {"settled": billed}


@pytest.mark.parametrize(
    ("size", "crop"), [(TALL, "450x2048"), (WIDE, "2048x450")], ids=["tall", "wide"]
)
def test_the_model_is_shown_all_of_a_page(fleet: Fleet, size: tuple[int, int], crop: str) -> None:
    """By the SDK, six crops go out in one call, are in the report, and are paid as forecast."""
    before = fleet.simulator.bill()
    content = screenshot(size, 1)
    plain = fleet.client.wait(fleet.client.submit(images=[content], **FIELDS))
    cut = fleet.client.wait(
        fleet.client.submit(images=[content], pictures=PictureOptions(crops=True), **FIELDS)
    )
    assert sizes_in(plain.text) == ["81x2048" if size == TALL else "2048x81"]
    assert sizes_in(cut.text) == [crop] * 6
    after = fleet.simulator.bill()
    assert (after["calls"], after["billed"]) == (before["calls"] + 2, before["billed"] + 2)
    (report,) = cut.images
    assert report.source is not None
    assert (report.source.width, report.source.height) == size
    assert report.sent is None
    assert [f"{one.width}x{one.height}" for one in report.crops] == [crop] * 6
    assert report.forecast_tokens == 6912
    # Beside its pictures the second question holds nothing but one sentence more.
    more = cut.usage.input_tokens - plain.usage.input_tokens - (6912 - 231)
    assert 0 < more < 30
    assert (cut.warnings, report.warnings) == ((), ())
    assert_books_agree(fleet)
    again = fleet.client.wait(
        fleet.client.submit(images=[content], pictures=PictureOptions(crops=True), **FIELDS)
    )
    assert again.cached
    assert again.images == cut.images


def test_a_mixed_table_costs_what_was_quoted(fleet: Fleet, tmp_path: Path) -> None:
    """A column and a flag of `run` and `quote` cut what needs it; quote, ledger and bill agree."""
    files = {"tall.png": TALL, "wide.png": WIDE, "photo.png": (1200, 900), "page.png": (800, 9000)}
    for number, (name, size) in enumerate(files.items()):
        (tmp_path / name).write_bytes(screenshot(size, 10 + number))
    question = f"Что на странице {{id}}? {tmp_path.name}"  # no answer to it is stored
    table, out = tmp_path / "pages.csv", tmp_path / "out.jsonl"
    table.write_text(
        "id,image,visionq.crops\n1,tall.png,\n2,wide.png,yes\n3,photo.png,yes\n4,page.png,no\n"
    )
    arguments = (table, "-p", question, "--model", "gpt-6-luna", "--detail", "high")
    quoted = json.loads(fleet.visionq("quote", *arguments, "--crops", "--json").stdout)
    assert (quoted["crops"]["pictures"], quoted["crops"]["crops"]) == (2, 12)
    assert Decimal(quoted["crops"]["rub"]) > 0
    before = Decimal(fleet.simulator.bill()["rub"])
    done = fleet.visionq("run", *arguments, "--crops", "-o", out, "--yes")
    assert done.returncode == 0, done.stderr
    assert "pictures cut into crops: 2 into 12;" in done.stderr
    rows = {row["id"]: row for row in map(json.loads, out.read_text("utf-8").splitlines())}
    shown = {row["id"]: sizes_in(row["text"]) for row in rows.values()}
    assert shown["1"] == ["450x2048"] * 6
    assert shown["2"] == ["2048x450"] * 6
    assert (len(shown["3"]), len(shown["4"])) == (1, 1)
    paid = sum(Decimal(row["cost_rub"]) for row in rows.values())
    assert paid == Decimal(fleet.simulator.bill()["rub"]) - before
    rub = {name: Decimal(amount) for name, amount in quoted["rub"].items()}
    assert rub["low"] <= paid <= rub["high"]
    assert_books_agree(fleet)


def test_one_question_about_two_pages(fleet: Fleet, tmp_path: Path) -> None:
    """`ask --crops` sends the crops of all pictures in one call, in order; without it strips."""
    tall, photo, wide = (tmp_path / name for name in ("tall.png", "photo.png", "wide.png"))
    tall.write_bytes(screenshot(TALL, 20))
    photo.write_bytes(screenshot((400, 300), 21))
    wide.write_bytes(screenshot(WIDE, 22))
    question = ("-p", "Есть ли отличия?", "--model", "gpt-6-luna", "--detail", "high", "--json")
    asked = fleet.visionq("ask", tall, photo, wide, *question, "--crops")
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert sizes_in(answer["text"]) == ["450x2048"] * 6 + ["400x300"] + ["2048x450"] * 6
    assert [len(image["crops"]) for image in answer["images"]] == [6, 0, 6]
    endless = tmp_path / "endless.png"
    Image.new("L", (100, 100_000)).save(endless)
    refused = fleet.visionq("ask", endless, *question, "--crops")
    assert refused.returncode == 1
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "too_many_pixels"
    assert "more than 32 crops" in error["message"]
    assert_books_agree(fleet)


def test_the_gateway_takes_the_option(gateway: Gateway, fleet: Fleet) -> None:
    """A native job, a form with a file and both of OpenAI's APIs can ask for crops."""
    content = screenshot(TALL, 30)
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    job = {"prompt": "?", "model": "gpt-6-luna", "detail": "high", "images": [{"url": url}]}
    with gateway.http() as http:
        native = http.post(
            "/v1/jobs", json={**job, "pictures": CROPS}, headers={"prefer": "wait=60"}
        )
        form = http.post(
            "/v1/jobs",
            data={
                "prompt": "??",
                "model": "gpt-6-luna",
                "detail": "high",
                "pictures": '{"crops": true}',
            },
            files={"image": ("tall.png", content)},
            headers={"prefer": "wait=60"},
        )
        wrong = http.post("/v1/jobs", json={**job, "pictures": {"crops": "perhaps"}})
    for reply in (native, form):
        assert sizes_in(reply.json()["result"]["text"]) == ["450x2048"] * 6
    assert (wrong.status_code, "pictures.crops" in wrong.text) == (422, True)
    extra = {"visionq": {"pictures": CROPS}}
    text, picture = {"type": "input_text", "text": "1"}, {"type": "input_image", "image_url": url}
    said = [
        {"type": "text", "text": "2"},
        {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
    ]
    with gateway.openai() as client:
        response = client.responses.create(
            model="gpt-6-luna",
            input=[{"role": "user", "content": [text, {**picture, "detail": "high"}]}],  # type: ignore[list-item, misc]
            extra_body=extra,
        )
        completion = client.chat.completions.create(
            model="gpt-6-luna",
            messages=[{"role": "user", "content": said}],  # type: ignore[list-item, misc]
            extra_body=extra,
        )
    assert sizes_in(response.output_text) == ["450x2048"] * 6
    assert sizes_in(completion.choices[0].message.content or "") == ["450x2048"] * 6
    assert_books_agree(fleet)


def test_plain_celery_callers_can_ask_for_crops(fleet: Fleet, tmp_path: Path) -> None:
    """A program that knows nothing but Celery says `pictures` in its keyword arguments."""
    url = f"data:image/png;base64,{base64.b64encode(screenshot(WIDE, 40)).decode()}"
    program = 'reply(outcome(app.send_task("visionq.analyze", queue="visionq.intake", **given)))'
    kwargs = {**FIELDS, "images": [{"url": url}], "pictures": CROPS}
    reply = run_caller(install_celery_alone(tmp_path), fleet, program, kwargs=kwargs)
    assert reply["state"] == "SUCCESS", reply
    assert sizes_in(reply["answer"]["text"]) == ["2048x450"] * 6
    assert len(reply["answer"]["images"][0]["crops"]) == 6
    assert_books_agree(fleet)
