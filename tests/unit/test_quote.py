from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from producer.prompts import Prompt
from producer.quote import LearnedStatistics, Quote, QuotePlan, make_quote, take_census
from producer.quote.census import Duplicates, Group, RefusedPicture
from producer.quote.document import CropsQuote
from producer.quote.estimate import GUESSED_OUTPUT, estimate
from producer.quote.model_facts import BatchesSeen
from producer.quote.probe import Seen
from producer.quote.quote_command import quote as quote_command
from producer.quote.rendering import draw
from producer.run.preview import in_one_line
from producer.sources import BadRow, Row
from tests.support.ugly_pictures import HEIGHT, WIDTH, tiffs
from tests.unit.test_usage import learned
from visionq.cache_key import cache_key
from visionq.cli.screen import money
from visionq.contract import Detail, Lane, Usage
from visionq.crops import crops_note
from visionq.images.headers import HEAD_BYTES, read_header
from visionq.ledger.usage import Output, TokenCalibration
from visionq.pricing.model_list import ListedModels
from visionq.pricing.money import nano_rubles, rubles
from visionq.pricing.prices import cost_nano_rubles, load_prices
from visionq.pricing.vision import forecast_text_tokens, image_tokens, load_rules, most_image_tokens
from visionq.settings import Settings
from visionq.submission import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULES = load_rules()
_numbers = itertools.count(1)


def picture(folder: Path, name: str, size: tuple[int, int] = (640, 480), **options: Any) -> str:
    number = next(_numbers)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (number % 256, number // 256, 9)).save(path, **options)
    return str(path)


def rows(*images: str | Sequence[str], **more: Any) -> list[Row]:
    return [
        Row(number, f"row-{number}", (image,) if isinstance(image, str) else tuple(image), **more)
        for number, image in enumerate(images, 1)
    ]


def plan(prompt: str = "What?", **options: Any) -> QuotePlan:
    fields = {"model": "gpt-5.4-mini", "detail": "high", "max_output_tokens": 500, **options}
    return QuotePlan(Settings(), RULES, Prompt(prompt), fields)


@dataclass(frozen=True)
class Told(LearnedStatistics):
    """Knows what a test tells it."""

    known: TokenCalibration | None = None
    lengths: Output | None = None
    rate_limit: float | None = None
    batches: BatchesSeen = field(default_factory=BatchesSeen)

    def calibrations(self, kinds: Sequence[str]) -> Mapping[str, TokenCalibration | None]:
        return dict.fromkeys(kinds, self.known)

    def outputs(self, questions: Sequence[str]) -> Mapping[str, Output]:
        return dict.fromkeys(questions, self.lengths) if self.lengths else {}

    def per_minute(self) -> float | None:
        return self.rate_limit

    def batches_seen(self, models: Iterable[str]) -> Mapping[str, BatchesSeen]:
        return dict.fromkeys(models, self.batches)


def quoted(
    given: Sequence[Row | BadRow], asked: QuotePlan, statistics: LearnedStatistics | None = None
) -> Quote:
    return make_quote(given, asked, load_prices(), statistics or LearnedStatistics(), now=NOW)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp"])
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (3000, 17)])
def test_sizes_are_read_from_headers(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    """Of every kind that is taken the size is known without a decode."""
    census = take_census(rows(picture(tmp_path, f"a.{suffix}", size)), plan())
    assert dict(census.sizes) == {size: 1}
    assert not census.refused


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"Exif\0\0" + b"x" * 50}])
def test_all_forms_of_webp_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    """Lossy, lossless and extended files each say their size at another place."""
    census = take_census(rows(picture(tmp_path, "a.webp", (321, 123), **options)), plan())
    assert dict(census.sizes) == {(321, 123): 1}


def test_a_jpeg_with_a_thumbnail_first_is_walked_on(tmp_path: Path) -> None:
    """The size is behind long segments, beyond the first bytes that are read."""
    exif = b"Exif\0\0" + b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01" * 6000
    census = take_census(rows(picture(tmp_path, "a.jpg", (800, 600), exif=exif)), plan())
    assert dict(census.sizes) == {(800, 600): 1}


def test_refusals_are_told_by_reason(tmp_path: Path) -> None:
    """A picture that no worker would send is counted by its code, and the rest is asked."""
    frames = [Image.new("RGB", (8, 8), (90 * n, 0, 0)) for n in range(3)]
    for name in ("moving.gif", "moving.webp", "moving.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    (tmp_path / "text.jpg").write_bytes(b"text")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JF")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    picture(tmp_path, "a.bmp")
    (tmp_path / "a.svg").write_bytes(b"<svg/>")
    large = tmp_path / "large.jpg"
    large.write_bytes(Path(picture(tmp_path, "b.jpg")).read_bytes() + b"\0" * 21_000_000)
    names = [path.name for path in sorted(tmp_path.iterdir())]
    given: list[Row | BadRow] = [*rows(*[str(tmp_path / name) for name in (*names, "none.jpg")])]
    given.append(BadRow(99, "line 7", "invalid_job", "line 7: broken JSON"))
    made = quoted(given, plan())
    assert made.refused == {
        "animated_image": 3,
        "corrupt_image": 2,
        "unsupported_format": 2,
        "not_an_image": 1,
        "empty_file": 1,
        "too_large": 1,
        "file_not_found": 1,
        "invalid_job": 1,
    }
    assert (made.asked, made.rows) == (1, len(given))
    assert "line 7: broken JSON" in [one.message for one in made.refusals]


def test_what_options_allow_is_not_refused(tmp_path: Path) -> None:
    """A job that converts, shrinks or takes first frames pays for such pictures too."""
    frames = [Image.new("RGB", (8, 8), (90 * n, 0, 0)) for n in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    allowed = plan(pictures={"convert": True, "animated": "first_frame"})
    given = rows(picture(tmp_path, "a.avif"), str(tmp_path / "moving.gif"))
    made = quoted(given, allowed)
    assert (made.refused, made.asked, made.unseen) == ({}, 2, 1)
    assert any("not looked into" in note for note in made.notes)


@pytest.mark.parametrize("name", ["a.bmp", "a.tif"])
def test_a_picture_to_be_converted_counts_by_its_size(tmp_path: Path, name: str) -> None:
    """A small scan costs what a small picture costs, not what the largest does."""
    census = take_census(
        rows(picture(tmp_path, name, (300, 200))), plan(pictures={"convert": True})
    )
    (group,) = census.groups.values()
    assert (census.unseen, list(census.sizes)) == (0, [(300, 200)])
    assert group.pictures == image_tokens(RULES, "gpt-5.4-mini", Detail.HIGH, 300, 200)


def test_the_size_of_every_form_of_tiff() -> None:
    """Byte order, tiles, planes and compression make no difference."""
    for way in tiffs():
        content = way.data()
        header = read_header("TIFF", BytesIO(content), len(content), content[:HEAD_BYTES])
        assert (header.width, header.height) == (WIDTH, HEIGHT), way


@pytest.mark.parametrize(
    "content", [b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"]
)
def test_a_broken_picture_to_be_converted_has_no_size(content: bytes) -> None:
    """A quote leaves it to the worker to say what is wrong."""
    header = read_header("TIFF", BytesIO(content), len(content), content)
    assert (header.width, header.height) == (0, 0)


def test_tokens_are_those_of_the_table(tmp_path: Path) -> None:
    """Pictures count by size and detail, addresses as the largest, data URLs by their content."""
    path = picture(tmp_path, "a.png", (1000, 700))
    content = Path(picture(tmp_path, "b.png", (300, 300))).read_bytes()
    inside = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    census = take_census(rows(path, inside, "https://a.example/x.jpg"), plan())
    (group,) = census.groups.values()
    known = sum(
        image_tokens(RULES, "gpt-5.4-mini", Detail.HIGH, *size)
        for size in [(1000, 700), (300, 300)]
    )
    most = most_image_tokens(RULES, "gpt-5.4-mini", Detail.HIGH)
    assert group.pictures == known + most
    assert group.least_pictures < group.pictures
    assert (census.unseen, census.sizes[None]) == (1, 1)


def test_duplicates_are_asked_once(tmp_path: Path) -> None:
    """The same bytes under other names are free; equal length and beginning are not enough."""
    first, other = picture(tmp_path, "a.png"), picture(tmp_path, "b.png")
    copies = []
    for number in range(3):
        copies.append(str(tmp_path / f"copy{number}.png"))
        (tmp_path / f"copy{number}.png").write_bytes(Path(first).read_bytes())
    given = rows(first, copies[0], other, *copies[1:], "https://a.example/x", "https://a.example/x")
    assert quoted(given, plan()).duplicates == 4
    assert quoted(given, plan(reuse="off")).duplicates == 0
    # A question about each row's name makes another question of each.
    named = [dataclasses.replace(row, variables={"id": row.id}) for row in given]
    assert quoted(named, plan("Is it {id}?")).duplicates == 0


def test_questions_in_one_call_pay_for_the_picture_once(tmp_path: Path) -> None:
    """Of rows with one picture that may share a call, the first alone counts its tokens."""
    one, other = picture(tmp_path, "a.png"), picture(tmp_path, "b.png")
    asked = [Row(n, f"r{n}", (one,), variables={"q": f"What {n}?"}) for n in range(20)]
    asked.append(Row(20, "r20", (other,), variables={"q": "What 0?"}))
    alone, together = (
        take_census(asked, plan("{q}", together=shared)).groups.popitem()[1]
        for shared in (False, True)
    )
    assert (alone.rows, together.rows) == (21, 21)
    assert together.pictures * 7 == alone.pictures  # 21 pictures; of a call of 16, of 4 and of 1
    assert together.texts == alone.texts
    census = take_census(asked, plan("{q}", together=True))
    assert census.joined == 18


def test_alike_is_not_the_same(tmp_path: Path) -> None:
    """Files with equal length and equal first bytes are read whole, and distinguished."""
    names = []
    for number in range(4):
        names.append(str(tmp_path / f"{number}.jpg"))
        tail = (b"A", b"B", b"A", b"B")[number] * 5000
        (tmp_path / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + b"0" * 5000 + tail)
    twins = Duplicates()
    seen = [Seen((1, 1), "same", certain=False, bytes=10_003)]
    assert [twins.is_duplicate("q", [name], seen) for name in names] == [False, False, True, True]
    assert twins.read_bytes == 4 * 10_003


def test_stored_answers_are_free(tmp_path: Path) -> None:
    """Rows whose content key has an answer are not counted; the keys are the workers' own."""
    first, second = picture(tmp_path, "a.png"), picture(tmp_path, "b.png")
    asked: list[str] = []

    def stored(keys: Sequence[str]) -> list[bool]:
        asked.extend(keys)
        return [number == 0 for number in range(len(keys))]

    made = quoted(rows(first, second), dataclasses.replace(plan(), stored=stored))
    assert (made.stored, made.asked) == (1, 1)
    assert made.read_bytes == len(Path(first).read_bytes()) + len(Path(second).read_bytes())
    digest = hashlib.sha256(Path(first).read_bytes()).hexdigest()
    job = prepare({**plan().options, "prompt": "What?", "images": [{"blob": digest}]}, Settings())
    assert asked[0] == cache_key(job, [digest])


def test_rows_that_name_models_are_counted_by_them(tmp_path: Path) -> None:
    """A row's own model and detail go before the common ones; a model without price is reported."""
    path = picture(tmp_path, "a.png")
    given = [
        *rows(path, overrides={"model": "gpt-4.1-mini", "prompt": "x"}),
        *rows(path, overrides={"model": "nobody-knows", "prompt": "x"}),
    ]
    made = quoted(given, plan())
    assert {one.model for one in made.chosen} == {"gpt-4.1-mini", "nobody-knows"}
    assert made.rub.expected is None
    assert any("nobody-knows has no price" in note for note in made.notes)


def group(count: int = 100, questions: int = 1) -> Group:
    made = Group(count, 765 * count, 765 * count, 40 * count, 500 * count, 0)
    made.questions.update({f"q{number}": count // questions for number in range(questions)})
    return made


def test_without_answers_the_span_is_wide() -> None:
    """By the table alone: a guess of the answers' length, and at most what is reserved."""
    price = load_prices().for_model("gpt-5.4-mini")
    made = estimate(group(), price, None, {})
    assert made.input.expected == 80_500
    assert (made.input.low, made.input.high) == (80_500 * 0.75, 80_500 * 1.5)
    assert (made.output.expected, made.output.high) == (100 * GUESSED_OUTPUT, 50_000)
    assert not made.output_learned
    assert made.cost is not None
    low, expected, high = made.cost
    assert low < expected < high
    rub = Decimal("193.5") * 80_500 + 1161 * 100 * GUESSED_OUTPUT
    assert expected == nano_rubles(rub / 1_000_000)


def test_answers_narrow_the_span() -> None:
    """A known factor and known lengths leave a few percent."""
    price = load_prices().for_model("gpt-5.4-mini")
    known = learned([(765, 40, 1055, 0, 60)] * 50)
    made = estimate(group(), price, known, {"q0": Output(50, 60, 0)})
    assert made.input.expected == pytest.approx(105_500)
    assert made.output.expected == pytest.approx(6000)
    assert made.output_learned
    assert made.cost is not None
    low, expected, high = made.cost
    assert expected * 0.97 < low < expected < high < expected * 1.03


@pytest.mark.parametrize(("effort", "reasoning"), [(None, 0), ("low", 120), ("high", 1200)])
def test_the_guess_depends_on_the_effort(
    tmp_path: Path, effort: str | None, reasoning: int
) -> None:
    """Before any answer it is that of the answer and of the reasoning; the effort is shown."""
    asked = plan(model="gpt-6-luna", effort=effort, max_output_tokens=4000)
    made = quoted(rows(picture(tmp_path, "a.png")), asked)
    assert made.output_tokens == GUESSED_OUTPUT + reasoning
    assert [one.effort for one in made.chosen] == [effort or "none"]
    assert any(f"{reasoning:,} of reasoning" in note for note in made.notes) is (reasoning > 0)
    assert not any("raise --max-output-tokens" in note for note in made.notes)
    others = {one.model: one.effort for one in made.models}
    assert others["gpt-5-mini"] == (effort or "minimal")
    assert others["gpt-4o-mini"] is None


def test_reasoning_without_room_is_told(tmp_path: Path) -> None:
    """A limit that reasoning is judged to spend is named before anything is paid."""
    asked = plan(model="gpt-6-luna", effort="high", max_output_tokens=500)
    made = quoted(rows(picture(tmp_path, "a.png")), asked)
    assert any("1,200 tokens" in note and "may have 500" in note for note in made.notes)


def test_efforts_are_quoted_apart(tmp_path: Path) -> None:
    """Rows of different efforts are different groups, each with what was learned of it."""
    name = picture(tmp_path, "a.png")
    given = [
        Row(n, f"r{n}", (name,), overrides={"effort": effort})
        for n, effort in enumerate(["none", "low", "minimal"], 1)
    ]
    made = quoted(given, plan(model="gpt-6-luna"))
    assert {one.effort for one in made.chosen} == {"none", "low"}
    assert made.refused == {"invalid_job": 1}
    assert "not 'minimal'" in made.refusals[0].message


def test_an_answer_is_never_longer_than_its_limit() -> None:
    """Answers to other questions count for nothing."""
    known = learned([(765, 40, 805, 0, 5000)] * 50)
    made = estimate(group(), None, known, {})
    assert made.output.high <= 50_000
    assert made.cost is None


def test_models_are_compared(tmp_path: Path) -> None:
    """The cheapest is named; what ends before the work is done is marked and never the cheapest."""
    given = rows(*[picture(tmp_path, f"{number}.png") for number in range(30)])
    made = quoted(given, plan(), Told(rate_limit=1 / 2000))
    costs = [one.rub.expected for one in made.models if not one.ends_before]
    assert costs == sorted(costs)  # type: ignore[type-var]
    cheapest = [one for one in made.models if one.cheapest]
    assert len(cheapest) == 1
    assert not cheapest[0].ends_before
    assert {one.model for one in made.models if one.ends_before} >= {"gpt-5-mini", "o3"}
    assert made.seconds == pytest.approx(30 * 60 * 2000)
    (own,) = [one for one in made.models if one.chosen]
    assert (own.model, own.detail) == ("gpt-5.4-mini", "high")
    assert own.price_date == date(2026, 11, 29)
    assert not own.confirmed
    assert own.tokens == made.tokens


def test_what_the_figures_rest_on_is_said(tmp_path: Path) -> None:
    """Unconfirmed prices, tables without answers, guesses and a drift each have a line."""
    given = rows(picture(tmp_path, "a.png"), "https://a.example/b")
    blind = "\n".join(quoted(given, plan()).notes)
    for words in ("unconfirmed", "by the table alone", "a guess, 100 tokens", "not looked into"):
        assert words in blind
    drifted = learned([(765, 40, 1055, 0, 60)] * 50)
    told = "\n".join(quoted(given, plan(), Told(known=drifted, lengths=Output(50, 60, 0))).notes)
    assert "counts 1.31 of what the table says" in told
    assert "a guess" not in told


def test_long_pages_that_can_not_be_read_are_told(tmp_path: Path) -> None:
    """Pictures of which only a narrow strip is left are counted, with the worst; photos are not."""
    tall = [picture(tmp_path, f"{n}.png", (600, height)) for n, height in enumerate((9000, 15000))]
    photo = picture(tmp_path, "photo.png", (4000, 3000))
    told = [note for note in quoted(rows(*tall, photo), plan()).notes if "print is lost" in note]
    assert " ".join(told) == (
        "scaled down so far that print is lost: 2 pictures"
        " (up to 7.3 times: 600x15000 to 81x2048); --crops cuts long ones"
    )
    assert not any("print is lost" in note for note in quoted(rows(photo), plan()).notes)


def test_crops_are_counted_and_what_they_add_is_said(tmp_path: Path) -> None:
    """Each crop counts as a picture, and the quote says how many, and their tokens and rubles."""
    tall, wide = picture(tmp_path, "a.png", (600, 15_000)), picture(tmp_path, "b.png", (9000, 600))
    photo = picture(tmp_path, "photo.png", (4000, 3000))
    given = rows((tall, photo), wide, photo)
    whole = quoted(given, plan(model="gpt-4o"))
    cut = quoted(given, plan(model="gpt-4o", pictures={"crops": True}))
    crops = [((600, 15_000), (600, 2728), 6), ((9000, 600), (2432, 600), 4)]
    more = sum(
        count * image_tokens(RULES, "gpt-4o", Detail.HIGH, *size)
        - image_tokens(RULES, "gpt-4o", Detail.HIGH, *whole_size)
        for whole_size, size, count in crops
    )
    more += sum(forecast_text_tokens(crops_note(counts)) for counts in ((6, 1), (4,)))
    assert whole.crops == CropsQuote(rub=Decimal(0))
    assert cut.crops.to_public() | {"rub": None} == {
        "pictures": 2,
        "crops": 10,
        "tokens": more,
        "rub": None,
    }
    assert cut.input_tokens == whole.input_tokens + more
    assert cut.rub.expected is not None
    assert whole.rub.expected is not None
    assert cut.crops.rub == cut.rub.expected - whole.rub.expected > 0
    assert any("print is lost" in note for note in whole.notes)
    assert not any("print is lost" in note for note in cut.notes)
    assert "pictures cut into crops: 2 into 10;" in in_one_line(cut)
    # Other models are compared with the crops that they would take, this one with its own.
    compared = {(one.model, one.detail): one for one in cut.models}
    assert compared["gpt-4o", "high"].rub == cut.chosen[0].rub
    plainly = {(one.model, one.detail): one for one in whole.models}
    assert compared["gpt-4.1", "high"].tokens > plainly["gpt-4.1", "high"].tokens
    shown = StringIO()
    Console(file=shown, width=120).print(draw(cut, "here"))
    assert f"2 cut into 10: {more:,} tokens more, {money(cut.crops.rub)} ₽" in shown.getvalue()


def test_rows_may_be_cut_each_by_itself(tmp_path: Path) -> None:
    """A column sets the option for its row alone; pictures by address are reported as such."""
    tall = picture(tmp_path, "a.png", (600, 15_000))
    one, other = rows(tall, tall)
    one = dataclasses.replace(one, overrides={"pictures": {"crops": True}})
    assert quoted([one, other], plan()).crops.pictures == 1
    notes = quoted(rows("https://example.com/a.png"), plan(pictures={"crops": True})).notes
    assert any("long ones that are cut count more" in note for note in notes)


def test_more_crops_than_there_may_be_are_refused(tmp_path: Path) -> None:
    """The quote refuses what the worker would: too many of one picture, or of one request."""
    endless = picture(tmp_path, "a.png", (100, 100_000))
    tall = picture(tmp_path, "b.png", (600, 15_000))
    few = RULES.model_copy(update={"request": RULES.request.model_copy(update={"max_images": 11})})
    asked = dataclasses.replace(plan(pictures={"crops": True}), rules=few)
    made = quoted(rows(endless, (tall, tall), tall), asked)
    assert (made.asked, made.refused) == (1, {"too_many_pixels": 1, "invalid_job": 1})
    assert "more than 32 crops" in made.refusals[0].message
    assert "images: 2 pictures, 12 with their crops" in made.refusals[1].message


def test_a_gif_without_its_end_is_left_to_the_worker(tmp_path: Path) -> None:
    """Whether an end marker is missing alone shows when all is decoded."""
    path = Path(picture(tmp_path, "a.gif"))
    path.write_bytes(path.read_bytes()[:-1])
    made = quoted(rows(str(path)), plan(pictures={"unterminated": True}))
    assert (made.asked, made.refused) == (1, {})


def test_a_quote_can_be_read(tmp_path: Path) -> None:
    """The screen says pictures, refusals, cost, models and what they rest on."""
    (tmp_path / "text.jpg").write_bytes(b"text")
    made = quoted(rows(picture(tmp_path, "a.png"), str(tmp_path / "text.jpg")), plan())
    console = Console(width=150, record=True)
    with console.capture() as captured:
        console.print(draw(made, "folder x"))
    for words in ("folder x", "2 in 2 rows", "not_an_image", "row-2", "₽", "cheapest", "→"):
        assert words in captured.get()


def test_the_chosen_model_has_one_span(tmp_path: Path) -> None:
    """The comparison shows what was asked for with the figures of the quote, marked."""
    made = quoted(rows(picture(tmp_path, "a.jpg"), "https://a.example/b.jpg"), plan(detail="auto"))
    (chosen,) = made.chosen
    (same,) = (one for one in made.models if one.chosen)
    assert (same.model, same.rub, same.tokens) == (chosen.model, chosen.rub, chosen.tokens)
    assert made.rub == chosen.rub
    costs = [one.rub.expected or 0 for one in made.models if not one.ends_before]
    assert costs == sorted(costs)


def test_every_code_has_examples_and_all_rows_are_told(tmp_path: Path) -> None:
    """However many rows are refused before, the last code is shown; rows add up on the screen."""
    told: list[RefusedPicture] = []
    asked = dataclasses.replace(plan(), on_refused=told.append)
    given: list[Row | BadRow] = [
        *(BadRow(number, f"bad {number}", "invalid_job", "no picture") for number in range(30)),
        Row(31, "late", (str(tmp_path / "none.jpg"),), given=("none.jpg",)),
        *rows(picture(tmp_path, "a.jpg")),
    ]
    made = quoted(given, asked)
    assert made.refused == {"invalid_job": 30, "file_not_found": 1}
    assert [row.id for row in made.refusals][-1] == "late"
    assert len(made.refusals) == 6
    assert [one.id for one in told] == [f"bad {number}" for number in range(30)] + ["late"]
    assert told[-1].file == "none.jpg"
    console = Console(width=100, record=True, file=StringIO())
    console.print(draw(made, "source"))
    said = console.export_text()
    assert "file_not_found  1  (late)" in said
    assert "bad 4, …)" in said
    counted = re.findall(r"^ *(\S.*?)  +([\d,]+)(?= |$)", said, re.MULTILINE)
    shown = {name: int(count.replace(",", "")) for name, count in counted}
    assert shown["refused"] == shown["invalid_job"] + shown["file_not_found"] == 31
    assert made.rows == shown["refused"] + made.duplicates + made.stored + shown["to be asked"]
    total, asked_rows, free, refused = map(int, re.findall(r"\d+", in_one_line(made))[:4])
    assert total == asked_rows + free + refused == made.rows


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_all_refused_rows_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """`--refused` has them all, `--json` too; what visionq did not write is left alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    lines = [f"=none{number}.jpg" for number in range(40)]
    source, out = tmp_path / "list.txt", tmp_path / f"refused.{suffix}"
    source.write_text("\n".join(lines))
    arguments = ["quote", str(source), "-p", "What?", "--refused", str(out), "--json"]
    for _ in range(2):  # what it wrote itself it writes again
        done = CliRunner().invoke(quote_command, arguments[1:])
        assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [row["id"] for row in told["refusals"]] == lines
    text = out.read_text("utf-8-sig")
    assert text.count("file_not_found") == 40
    if suffix == "csv":
        assert text.splitlines()[:2] == [
            "id,code,message,file", "'=none0.jpg,file_not_found,there is no such file,'=none0.jpg",
        ]  # fmt: skip
    out.write_text("mine\n")
    assert CliRunner().invoke(quote_command, arguments[1:]).exit_code != 0
    assert out.read_text() == "mine\n"


# The prompt cache, tiers and long prompts ---------------------------------------------------------

#: 1,000 words of 9 letters, 3,000 tokens by the rule of thumb.
INSTRUCTIONS = "describes " * 1000


def luna(folder: Path, count: int, **options: Any) -> Quote:
    paths = [picture(folder, f"{number}.png", (640, 480 + number)) for number in range(count)]
    asked = plan(model="gpt-6-luna", effort="none", instructions=INSTRUCTIONS, **options)
    return quoted(rows(*paths), asked)


def priced(taken: float, read: float, written: float, given: float) -> Decimal:
    price = load_prices().for_model("gpt-6-luna")
    assert price is not None
    usage = Usage(
        input_tokens=round(taken),
        cached_tokens=round(read),
        cache_write_tokens=round(written),
        output_tokens=round(given),
    )
    return rubles(cost_nano_rubles(price, usage))


def test_shared_instructions_are_written_once(tmp_path: Path) -> None:
    """The first row writes them and the others read them; at its dearest each writes its own."""
    made = luna(tmp_path, 10)
    shared = forecast_text_tokens(INSTRUCTIONS)
    assert shared >= 1024
    taken, given = made.input_tokens, made.output_tokens
    assert made.rub.expected == priced(taken, 9 * shared, shared, given)
    assert made.rub.high is not None
    assert made.rub.high > priced(taken, 0, 10 * shared, given)


def test_without_a_cache(tmp_path: Path) -> None:
    """If nothing is cached, nothing is read or written; short instructions are not cached."""
    made = luna(tmp_path, 10, prompt_cache="off")
    assert made.rub.expected == priced(made.input_tokens, 0, 0, made.output_tokens)
    short = quoted(
        rows(picture(tmp_path, "a.png")),
        plan(model="gpt-6-luna", effort="none", instructions="Be brief."),
    )
    assert short.rub.expected == priced(short.input_tokens, 0, 0, short.output_tokens)


def test_whole_prompts_are_written(tmp_path: Path) -> None:
    """Left to the provider, each row writes all but the instructions, which the others read."""
    made = luna(tmp_path, 10, prompt_cache="implicit")
    read = 9 * forecast_text_tokens(INSTRUCTIONS)
    taken, given = made.input_tokens, made.output_tokens
    assert made.rub.expected == priced(taken, read, taken - read, given)


def test_the_cache_as_it_was_learned() -> None:
    """Reads and writes of earlier answers to a question forecast those of the next."""
    price = load_prices().for_model("gpt-6-luna")
    known = learned([(765, 40, 805, 0, 60)] * 50)
    outputs = {"q0": Output(50, 60, 0, cached=300.0, written=0.5)}
    made = estimate(group(), price, known, outputs)
    assert made.cost is not None
    read, given = 30_000, made.output.expected
    taken = made.input.expected
    expected = float(priced(taken, read, (taken - read) / 2, given))
    assert float(rubles(made.cost[1])) == pytest.approx(expected, rel=0.001)


def test_what_others_had_kept(tmp_path: Path) -> None:
    """A model set to cache nothing reads nothing, regardless of other questions."""
    known = learned([(372, 40, 412, 200, 60)] * 50)
    asked = plan(model="gpt-6-luna", effort="none", prompt_cache="off")
    made = quoted(rows(picture(tmp_path, "a.png")), asked, Told(known=known))
    assert known is not None
    assert known.cached > 0.4
    assert made.rub.expected is not None
    whole = priced(made.input_tokens, 0, 0, made.output_tokens)
    assert float(made.rub.expected) == pytest.approx(float(whole), rel=0.02)


@pytest.mark.parametrize(("tier", "factor"), [("flex", "0.5"), ("priority", "2"), ("auto", "1")])
def test_tiers_are_quoted(tmp_path: Path, tier: str, factor: str) -> None:
    """A tier costs its factor of the ordinary one, in the comparison as well."""
    given = rows(picture(tmp_path, "a.png"))
    ordinary = quoted(given, plan(model="gpt-6-luna", effort="none"))
    made = quoted(given, plan(model="gpt-6-luna", effort="none", service_tier=tier))
    assert ordinary.rub.expected is not None
    assert made.rub.expected == Decimal(factor) * ordinary.rub.expected
    costs = [{one.model: one.rub.expected for one in quote.models} for quote in (ordinary, made)]
    with_tiers = {price.model for price in load_prices().prices if price.service_tiers}
    assert costs[1].keys() == (costs[0].keys() & with_tiers if tier != "auto" else costs[0].keys())


def test_a_tier_without_a_price_is_refused(tmp_path: Path) -> None:
    """A row that asks for it can't be asked, and names the reason."""
    made = quoted(rows(picture(tmp_path, "a.png")), plan(service_tier="ultrafast"))
    assert made.refused == {"invalid_job": 1}
    said = made.refusals[0].message
    assert said.startswith("service_tier: ultrafast has no price for gpt-5.4-mini")


def test_many_rows_are_no_long_prompt() -> None:
    """A long prompt is dearer above 272,000 tokens, the sum of a run is not."""
    price = load_prices().for_model("gpt-6-luna")
    one, many = (estimate(group(count), price, None, {}) for count in (1, 1000))
    assert one.cost is not None
    assert many.cost is not None
    assert many.input.expected > 272_000
    assert many.cost[1] == 1000 * one.cost[1]


def test_work_that_outlives_its_model_is_told(tmp_path: Path) -> None:
    """By the rate of the last minutes the model ends first; else it is warned of by its date."""
    given = rows(*[picture(tmp_path, f"{number}.png") for number in range(30)])
    asked = plan(model="gpt-4o-mini")
    (slow,) = quoted(given, asked, Told(rate_limit=1 / 4000)).warnings
    assert "shuts down on 2027-01-14" in slow
    assert "this work would be done on" in slow
    assert slow.endswith("use gpt-6-luna")
    (fast,) = quoted(given, asked, Told(rate_limit=1000)).warnings
    assert "shuts down in" in fast
    assert quoted(given, plan(model="gpt-6-luna"), Told(rate_limit=1000)).warnings == ()
    listed = ListedModels(frozenset({"gpt-6-luna"}), {"gpt-6-luna": NOW.date()})
    unlisted, *_ = quoted(given, asked, Told(ask_for_models=lambda: listed)).warnings
    assert unlisted == "the provider does not list gpt-4o-mini"


def test_the_lanes_of_a_source(tmp_path: Path) -> None:
    """Batches cost half of the quote, flex what its row says, and auto is there with a deadline."""
    given = rows(*(picture(tmp_path, f"{n}.png") for n in range(3)))
    told = Told(rate_limit=60)
    plain = quoted(given, plan(), told)
    costs = {one.lane: one.rub.expected or Decimal(0) for one in plain.lanes}
    assert costs["online"] == plain.rub.expected
    assert costs["batch"] == costs["flex"]
    assert abs(costs["batch"] * 2 - costs["online"]) <= Decimal("1e-8")
    by = datetime.now(UTC) + timedelta(hours=8)
    online, _, batch, auto = quoted(given, plan(by=by.isoformat()), told).lanes
    assert (online.done, batch.done) == (NOW + timedelta(seconds=3), NOW + timedelta(hours=24))
    assert (auto.lane, auto.done) == ("auto", by)
    assert (batch.rub.expected or 0) < (auto.rub.expected or 0) < (online.rub.expected or 0)


def test_a_run_expects_the_price_of_its_lane(tmp_path: Path) -> None:
    """Count on the price of the lane that the run takes, not of another."""
    given = rows(picture(tmp_path, "a.png"))
    plain, timed = (quoted(given, plan(**more), Told(rate_limit=60)) for more in ({}, {"by": "8h"}))
    costs = {one.lane: one.rub.expected for one in timed.lanes}
    assert plain.expected_of(Lane.AUTO) == plain.rub.expected
    assert timed.expected_of(Lane.AUTO) == costs["auto"]
    assert timed.expected_of(Lane.ONLINE) == costs["online"]
    assert plain.expected_of(Lane.BATCH) == costs["batch"]


def test_lanes_follow_what_is_known(tmp_path: Path) -> None:
    """No batches of what the provider refused, of a tier of its own, or of another vendor."""
    given = rows(picture(tmp_path, "a.jpg"))
    refused = Told(batches=BatchesSeen(refused="no pictures"))
    made = quoted(given, plan(), refused)
    assert [one.lane for one in made.lanes] == ["online", "flex"]
    assert any("takes no batches of gpt-5.4-mini (no pictures)" in note for note in made.notes)
    assert [one.lane for one in quoted(given, plan(service_tier="flex")).lanes] == ["online"]
    claude = plan(model="anthropic/claude-haiku-4-5", detail="auto")
    assert "batch" not in {one.lane for one in quoted(given, claude).lanes}
    no_flex = Told(batches=BatchesSeen(flex_refused="served at default"))
    assert [one.lane for one in quoted(given, plan(), no_flex).lanes] == ["online", "batch"]
    auto = quoted(given, plan(by="6h"), refused).lanes[-1]
    assert (auto.lane, auto.in_batches) == ("auto", 0)
    assert (auto.rub.expected or 0) < (made.rub.expected or 0)
    took = Told(batches=BatchesSeen(took=(600.0, 1200.0)))
    batch = next(one for one in quoted(given, plan(), took).lanes if one.lane == "batch")
    assert batch.done == NOW + timedelta(minutes=20)


def test_all_prices_are_in_one_line(tmp_path: Path) -> None:
    """People read price and end of each lane in one line."""
    made = quoted(rows(picture(tmp_path, "a.jpg")), plan(), Told(rate_limit=60))
    console = Console(file=StringIO(), width=200)
    console.print(draw(made, "a folder"))
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    (line,) = [line for line in shown.splitlines() if line.startswith("lanes")]
    assert re.search(r"all online \S+ ₽ by .* · flex \S+ ₽ · half price \S+ ₽ by ", line)
