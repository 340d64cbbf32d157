"""Count a source: which rows cost money, and what they contain."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from producer.prompts import job_fields
from producer.quote.estimate import SharedPrefixes, prefix_of
from producer.quote.near_pairs import NearFinder
from producer.quote.probe import look, sha256_of_file
from producer.sources import ROW_FAULTS, BadRow, Row, row_fault
from visionq.cache_key import MOST_QUESTIONS, cache_key, together_key
from visionq.contract import Reuse
from visionq.crops import check_count, crop_boxes, crops_note
from visionq.errors import ImageError, InvalidJob
from visionq.ledger.usage import question_of
from visionq.model_migrations import NO_MIGRATIONS
from visionq.pricing.model_options import load_option_table
from visionq.pricing.vision import (
    forecast_text_tokens,
    forecast_texts,
    image_tokens,
    lost_detail,
    most_image_tokens,
    seen_size,
)
from visionq.submission import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from producer.prompts import Prompt
    from producer.quote.estimate import Prefix
    from producer.quote.near_pairs import NearPair
    from producer.quote.probe import Seen
    from visionq.contract import Api, Detail, JobDocument
    from visionq.model_migrations import ModelMigrations
    from visionq.pricing.vision import VisionRules
    from visionq.settings import Settings

_CACHE_KIB: Final = 4_000


class Duplicates:
    """Finds repeated questions in a table that is a temporary file.

    Only files of equal length and equal first bytes are read whole.
    """

    def __init__(self) -> None:
        self.read_bytes = 0
        # The empty name: a temporary file that SQLite makes, spills into and removes.
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for name, value in (("journal_mode", "OFF"), ("synchronous", "OFF")):
            self._table.execute(f"PRAGMA {name} = {value}")
        self._table.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._table.execute("CREATE TABLE seen (key INTEGER PRIMARY KEY, images TEXT)")
        self._table.execute("BEGIN")

    def is_duplicate(self, question: str, images: Sequence[str], seen: Sequence[Seen]) -> bool:
        """Return whether the same question about the same pictures came before.

        Raises:
            InputFileNotFound: a file has vanished.
        """
        certain = all(picture.certain for picture in seen)
        likeness = _key(question, *(picture.likeness for picture in seen))
        first = self._note(likeness, None if certain else json.dumps(images))
        if first is None:
            return False
        if certain or not first[0]:
            return certain or self._read(question, images, seen)
        # Two alike: from now on compare all their bytes.
        self._table.execute("UPDATE seen SET images = '' WHERE key = ?", (likeness,))
        self._read(question, json.loads(first[0]), seen)
        return self._read(question, images, seen)

    def _read(self, question: str, images: Sequence[str], seen: Sequence[Seen]) -> bool:
        self.read_bytes += sum(picture.bytes for picture in seen)
        hashes = [
            picture.likeness if picture.certain else sha256_of_file(image)
            for image, picture in zip(images, seen, strict=True)
        ]
        return self._note(_key(question, "whole", *hashes), None) is not None

    def _note(self, key: int, images: str | None) -> tuple[str | None] | None:
        """Add a key; return the row that was there, or None."""
        if self._table.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, images)).rowcount:
            return None
        found: tuple[str | None] = self._table.execute(
            "SELECT images FROM seen WHERE key = ?", (key,)
        ).fetchone()
        return found


def _key(*parts: str) -> int:
    text = json.dumps(parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


Size = tuple[int, int]
#: Model, detail, effort.
Kind = tuple[str, str, str | None]
#: Refused rows of each code that are kept as examples.
_EXAMPLES: Final = 5
#: Different sizes that are counted for the comparison of models; beyond, sides are rounded up.
_MOST_SIZES: Final = 20_000
_ROUNDED_TO: Final = 64
#: Questions whose statistics are looked up.
_MOST_QUESTIONS: Final = 100
#: Calls that later rows may join: a run has as many jobs in the ledger at once.
_MOST_CALLS: Final = 1_000
#: Cached answers that are looked up in one round trip.
_AT_ONCE: Final = 500


@dataclass
class Group:
    """Rows of one model, detail and effort that will be paid for, with sums of tokens by tables."""

    rows: int = 0
    pictures: int = 0
    #: The same, with the smallest size for pictures that were not looked at.
    least_pictures: int = 0
    texts: int = 0
    #: Longest answers, and their reasoning tokens by the table.
    limits: int = 0
    reasoning: int = 0
    questions: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str | None] = field(default_factory=Counter)
    apis: set[Api] = field(default_factory=set)
    #: Rows whose answer is to follow a JSON Schema.
    schemas: int = 0
    prefixes: SharedPrefixes = field(default_factory=SharedPrefixes)
    #: The parts of `pictures` and `texts` that are due to crops.
    crop_pictures: int = 0
    crop_texts: int = 0


@dataclass(frozen=True, slots=True)
class RefusedPicture:
    """A row that can't become a job."""

    id: str
    code: str
    message: str
    #: The names of its pictures.
    file: str = ""


@dataclass
class Census:
    """The sums of a source's rows."""

    rows: int = 0
    pictures: int = 0
    #: Code → rows.
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[RefusedPicture] = field(default_factory=list)
    #: Rows that repeat another, and rows whose answer is cached.
    duplicates: int = 0
    stored: int = 0
    #: Rows with the answer of a picture that looks alike, and the pairs that differ most.
    near: int = 0
    #: Rows that are answered in the call of another.
    joined: int = 0
    near_pairs: list[NearPair] = field(default_factory=list)
    near_left_out: int = 0
    #: Pictures that were not looked at.
    unseen: int = 0
    #: Pictures that are scaled down until print is illegible, and the sizes of the worst.
    illegible: int = 0
    most_reduced: tuple[float, Size, Size] | None = None
    #: Pictures that are cut, and their crops.
    cut: int = 0
    crops: int = 0
    #: Bytes of files that were read whole.
    read_bytes: int = 0
    groups: dict[Kind, Group] = field(default_factory=dict)
    #: When the first of the answers is needed.
    by: datetime | None = None
    #: Sizes of the pictures to be paid for; None: not looked at.
    sizes: Counter[Size | None] = field(default_factory=Counter)
    #: The same for pictures that may be cut.
    croppable: Counter[Size | None] = field(default_factory=Counter)


@dataclass(frozen=True)
class QuotePlan:
    """The question about the rows, and the tables to count with."""

    settings: Settings
    rules: VisionRules
    prompt: Prompt | None = None
    #: Fields of every job.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Returns which cache keys have an answer; None: files are not read for that.
    stored: Callable[[Sequence[str]], Sequence[bool]] | None = None
    #: Called with every row that can't become a job.
    on_refused: Callable[[RefusedPicture], None] | None = None
    #: Which models are asked in the place of others.
    migrations: ModelMigrations = NO_MIGRATIONS


def take_census(rows: Iterable[Row | BadRow], plan: QuotePlan) -> Census:
    """Read all rows once; raise the errors of their source."""
    counting = _Counting(plan)
    for row in rows:
        counting.take(row)
    return counting.result()


@dataclass(frozen=True, slots=True)
class _Asked:
    """The question of a row, without its pictures."""

    job: JobDocument
    #: A hash of everything that shapes the answer.
    shape: str
    question: str
    #: Tokens, by the rule of thumb.
    texts: int
    prefix: Prefix
    #: What it has in common with questions that one call may answer as well.
    together: str


class _Counting:
    def __init__(self, plan: QuotePlan) -> None:
        self._plan = plan
        self._census = Census()
        self._options = load_option_table(plan.settings.options_file)
        self._duplicates = Duplicates()
        self._waiting: list[tuple[str, _Asked, list[Seen], Row]] = []
        self._near = NearFinder()
        #: Rows in the call about these pictures, of the last thousand such calls.
        self._calls: OrderedDict[tuple[str, ...], int] = OrderedDict()
        self._tokens = lru_cache(100_000)(self._tokens_of)
        self._boxes = lru_cache(100_000)(partial(crop_boxes, plan.rules))
        #: The question that rows have in common, by the number of their pictures.
        self._known: dict[int, _Asked] = {}
        self._common = plan.prompt is not None and not plan.prompt.names

    def take(self, row: Row | BadRow) -> None:
        census = self._census
        census.rows += 1
        if isinstance(row, BadRow):
            self._refuse(RefusedPicture(row.id, row.code, row.message))
            return
        census.pictures += len(row.images)
        try:
            asked = self._asked(row)
            job = asked.job
            seen = [look(image, self._plan.settings, job.pictures) for image in row.images]
            parts = sum(len(self._sent(job, one.size)) for one in seen)
            check_count(self._plan.rules.request_of(self._model(job)), len(seen), parts)
            reusable = job.reuse is Reuse.USE
            if reusable and self._duplicates.is_duplicate(asked.shape, row.images, seen):
                census.duplicates += 1
                return
            if reusable and self._plan.stored and not any(one.size is None for one in seen):
                census.read_bytes += sum(one.bytes for one in seen)
                key = cache_key(
                    job,
                    [sha256_of_file(image) for image in row.images],
                    shared=self._plan.settings.share_answers,
                )
                self._waiting.append((key, asked, seen, row))
                if len(self._waiting) >= _AT_ONCE:
                    self._look_up()
                return
        except (ImageError, InvalidJob) as error:
            self._refuse(RefusedPicture(row.id, error.code, error.message, row.file))
            return
        except ROW_FAULTS as error:
            fault = row_fault(error)
            self._refuse(RefusedPicture(row.id, fault.code, fault.message, row.file))
            return
        self._add(asked, seen, row)

    def result(self) -> Census:
        self._look_up()
        census, near = self._census, self._near
        census.near, census.near_pairs, census.near_left_out = near.found, near.pairs, near.left_out
        self._census.read_bytes += self._duplicates.read_bytes
        return self._census

    def _asked(self, row: Row) -> _Asked:
        """Return the question of a row; raise `InvalidJob`."""
        common = self._common and not row.overrides
        known = self._known.get(len(row.images)) if common else None
        if known is not None:
            return known
        fields = {**job_fields(row, self._plan.prompt, self._plan.options), "priority": "bulk"}
        # The places of the pictures do not matter here.
        fields["images"] = [{"url": "https://example.com"}] * len(row.images)
        job = prepare(fields, self._plan.settings, self._plan.migrations)
        texts = forecast_texts(job.prompt, job.instructions, job.answer_schema)
        prefix = prefix_of(job, self._plan.settings.prompt_cache)
        made = _Asked(job, cache_key(job, ()), question_of(job), texts, prefix, together_key(job))
        if common:
            self._known[len(row.images)] = made
        return made

    def _look_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting or self._plan.stored is None:
            return
        found = self._plan.stored([key for key, *_ in waiting])
        for (_, asked, seen, row), is_stored in zip(waiting, found, strict=True):
            if is_stored:
                self._census.stored += 1
            else:
                self._add(asked, seen, row)

    def _add(self, asked: _Asked, seen: Sequence[Seen], row: Row) -> None:
        census, job, question = self._census, asked.job, asked.question
        if job.near is not None and self._near.is_near(asked.shape, row, job.near):
            return
        model = self._model(job)
        group = census.groups.setdefault((model, job.detail.value, job.effort), Group())
        group.rows += 1
        group.reasoning += self._options.reasoning_tokens(model, job.effort)
        group.texts += asked.texts
        group.limits += job.max_output_tokens or 0
        group.tiers[job.service_tier] += 1
        group.apis.add(job.api)
        if job.by is not None:
            census.by = min(census.by or job.by, job.by)
        group.schemas += job.answer_schema is not None
        group.prefixes.add(asked.prefix)
        if question in group.questions or len(group.questions) < _MOST_QUESTIONS:
            group.questions[question] += 1
        if self._joins_call(asked, row):
            census.joined += 1
            return  # the pictures are paid in the call that it joins
        sent = [self._sent(job, picture.size) for picture in seen]
        for picture, parts in zip(seen, sent, strict=True):
            tokens = sum(self._tokens(model, job.detail, part) for part in parts)
            group.pictures += tokens
            group.least_pictures += (
                tokens if picture.size else self._tokens(model, job.detail, (1, 1))
            )
            if len(parts) > 1:
                group.crop_pictures += tokens - self._tokens(model, job.detail, picture.size)
            census.unseen += picture.size is None
            self._note_reduction(model, job.detail, parts[0])
            sizes = census.croppable if job.pictures.crops else census.sizes
            sizes[_counted(picture.size, sizes)] += 1
        self._count_crops(group, [len(parts) for parts in sent])

    def _joins_call(self, asked: _Asked, row: Row) -> bool:
        """Return whether an earlier row's call answers this one as well."""
        if not asked.together:
            return False
        key = (asked.together, *row.images)
        questions = self._calls.pop(key, 0) % MOST_QUESTIONS + 1
        self._calls[key] = questions
        if len(self._calls) > _MOST_CALLS:
            self._calls.popitem(last=False)
        return questions > 1

    def _model(self, job: JobDocument) -> str:
        return job.model or self._plan.settings.default_model

    def _sent(self, job: JobDocument, size: Size | None) -> list[Size | None]:
        """Return the sizes of a picture's crops, or its own size.

        Raises:
            TooManyPixels: there would be too many crops.
        """
        if size is None or not job.pictures.crops:
            return [size]
        boxes = self._boxes(self._model(job), job.detail, *size)
        return [(right - left, low - top) for left, top, right, low in boxes] or [size]

    def _count_crops(self, group: Group, counts: Sequence[int]) -> None:
        cut = [count for count in counts if count > 1]
        self._census.cut += len(cut)
        self._census.crops += sum(cut)
        tokens = forecast_text_tokens(crops_note(counts))
        group.texts += tokens
        group.crop_texts += tokens

    def _note_reduction(self, model: str, detail: Detail, size: Size | None) -> None:
        if size is None:
            return
        seen = seen_size(self._plan.rules, model, detail, *size)
        if (reduction := lost_detail(size, seen)) is not None:
            census, found = self._census, (reduction, size, seen)
            census.illegible += 1
            census.most_reduced = max(census.most_reduced or found, found)

    def _tokens_of(self, model: str, detail: Any, size: Size | None) -> int:  # noqa: ANN401  # a `Detail`
        rules = self._plan.rules
        return (
            most_image_tokens(rules, model, detail)
            if size is None
            else image_tokens(rules, model, detail, *size)
        )

    def _refuse(self, refusal: RefusedPicture) -> None:
        refused = self._census.refused
        refused[refusal.code] += 1
        if refused[refusal.code] <= _EXAMPLES:
            self._census.examples.append(refusal)
        if self._plan.on_refused is not None:
            self._plan.on_refused(refusal)


def _counted(size: Size | None, sizes: Counter[Size | None]) -> Size | None:
    """Return the size to count, rounded up if there are too many different ones."""
    if size is None or size in sizes or len(sizes) < _MOST_SIZES:
        return size
    width, height = (-(-side // _ROUNDED_TO) * _ROUNDED_TO for side in size)
    return width, height
