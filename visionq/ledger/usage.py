"""Learned token counts: what the provider really counts, by model and detail.

A forecast says tokens of the pictures (by the table) and of the texts (by a rule of thumb). What
was counted is fitted to it with one factor for each, by least squares over sums in which recent
answers weigh more. So a table that is wrong by a third, or goes out of date, is put
right by the answers themselves.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, Final

from visionq.names import LANE_SIZES, QUESTION, USAGE, USAGE_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    from visionq.contract import JobDocument
    from visionq.ledger.records import UsageNote

#: Answers from which something is learned.
ENOUGH: Final = 20
#: How far counts may leave the table before a notice is sent.
DRIFT: Final = 0.2
#: Of a call's input: what is reserved beyond the forecast, before and after there are answers.
#: Before, the table may be wrong by that much; after, single answers scatter.
MARGIN_BEFORE: Final = 1.5
MARGIN_AFTER: Final = 1.05
#: Pull towards one factor for both, which decides where the two can't be told apart.
_RIDGE: Final = 1e-4
#: Questions of which a process remembers something.
_MOST_QUESTIONS: Final = 1000
#: Share of pictures in a forecast from which it is the table that is judged.
_MOSTLY_PICTURES: Final = 0.8


@dataclass(frozen=True, slots=True)
class TokenCalibration:
    """Tokens of a model at one `detail`, relative to the forecast."""

    answers: int
    #: What was counted for each token that was forecast: together, for pictures, for texts.
    factor: float
    pictures: float
    texts: float
    #: Standard deviation of what one call counts from what the two factors say, as a share of it.
    spread: float
    #: Share of the pictures in the forecast.
    share: float
    #: Shares of the input that were read from the provider's cache, and written to it.
    cached: float
    written: float
    #: Mean tokens of an answer.
    output: float

    def input_tokens(self, pictures: float, texts: float) -> float:
        """Return the expected count of a forecast."""
        return self.pictures * pictures + self.texts * texts

    @property
    def has_drifted(self) -> bool:
        """Whether counts differ from the table; text forecasts are high on purpose."""
        too_low = self.factor < 1 - DRIFT and self.share > _MOSTLY_PICTURES
        return self.factor > 1 + DRIFT or too_low


@dataclass(frozen=True, slots=True)
class Output:
    """Tokens of the answers to one question: mean and standard deviation."""

    answers: int
    mean: float
    spread: float
    #: Tokens of its input that the provider's cache lately held, and the share of the others that
    #: was written there; None: not known.
    cached: float | None = None
    written: float = 0


def calibrate(sums: Mapping[str, float]) -> TokenCalibration | None:
    """Return the calibration from the sums of one kind; None with too few answers."""
    answers, forecast = int(sums.get("answers", 0)), sums.get("p", 0) + sums.get("t", 0)
    if answers < ENOUGH or forecast <= 0 or sums["a"] <= 0:
        return None
    factor = sums["a"] / forecast
    pictures, texts = _fitted(sums, factor)
    weight = sums["weight"]
    return TokenCalibration(
        answers=answers,
        factor=factor,
        pictures=pictures,
        texts=texts,
        spread=_residual(sums, pictures, texts) / (sums["a"] / weight),
        share=sums["p"] / forecast,
        cached=min(1.0, sums["cached"] / sums["a"]),
        written=min(1.0, sums.get("written", 0) / sums["a"]),
        output=sums["output"] / weight,
    )


def _fitted(sums: Mapping[str, float], factor: float) -> tuple[float, float]:
    """Return the factors of pictures and texts, both `factor` if inseparable."""
    pp, pt, tt = sums["pp"], sums["pt"], sums["tt"]
    pull = _RIDGE * factor
    a, b, right = (
        pp * (1 + _RIDGE),
        tt * (1 + _RIDGE),
        (sums["pa"] + pull * pp, sums["ta"] + pull * tt),
    )
    determinant = a * b - pt * pt
    if determinant <= 0:
        return factor, factor
    pictures = (right[0] * b - right[1] * pt) / determinant
    texts = (right[1] * a - right[0] * pt) / determinant
    return (pictures, texts) if pictures > 0 and texts >= 0 else (factor, factor)


def _residual(sums: Mapping[str, float], pictures: float, texts: float) -> float:
    squares = (
        sums["aa"]
        - 2 * (pictures * sums["pa"] + texts * sums["ta"])
        + pictures**2 * sums["pp"]
        + 2 * pictures * texts * sums["pt"]
        + texts**2 * sums["tt"]
    )
    return sqrt(max(0.0, squares) / sums["weight"])


def _deviation(sums: Mapping[str, float]) -> float:
    mean = sums["output"] / sums["weight"]
    return sqrt(max(0.0, sums["oo"] / sums["weight"] - mean**2))


def reserved_input(calibration: TokenCalibration | None, pictures: int, most_texts: int) -> int:
    """Return the input tokens to reserve money for, `most_texts` of them for texts."""
    margin, factor = MARGIN_BEFORE, 1.0
    if calibration is not None:
        margin, factor = MARGIN_AFTER, max(1.0, calibration.pictures)
    return ceil(margin * factor * pictures) + most_texts


def likely_input(calibration: TokenCalibration | None, pictures: int, texts: int) -> int:
    """Return the input tokens for the rate limit, rarely fewer than counted."""
    if calibration is None:
        return ceil(MARGIN_BEFORE * (pictures + texts))
    most = max(1.0, calibration.pictures) * pictures + max(1.0, calibration.texts) * texts
    return ceil(MARGIN_AFTER * most)


def most_texts(text_bytes: int, forecast: int, least_input: int | None) -> int:
    """Return the most tokens that the texts of a call can count.

    Args:
        text_bytes: all that is sent beside the pictures; no tokenizer over bytes makes more of it.
        forecast: the rule of thumb, below which nothing is reserved.
        least_input: the least that calls with these very texts have counted, pictures included:
            the texts were part of each.
    """
    known = text_bytes if least_input is None else min(text_bytes, least_input)
    return max(known, forecast)


def kind_of(model: str, detail: str, effort: str | None = None) -> str:
    """Return the statistics key of a model at one `detail` and effort."""
    return f"{model}:{detail}" + (f"/{effort}" if effort else "")


def split_kind(kind: str) -> tuple[str, str, str | None]:
    """Split a statistics key into model, `detail` and effort."""
    model, _, rest = kind.rpartition(":")  # a model's own name may have colons and slashes
    detail, _, effort = rest.partition("/")
    return model, detail, effort or None


def question_of(job: JobDocument) -> str:
    """Return a hash of what the length of an answer depends on, pictures excluded."""
    asked = [job.model, job.prompt, job.instructions, job.answer_schema, job.max_output_tokens]
    asked += [job.effort] if job.effort else []
    text = json.dumps(asked, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def usage_fields(note: UsageNote) -> dict[str, str | int]:
    """Return a call's usage for `add_statistics`."""
    return {
        "kind": kind_of(note.model, note.detail, note.effort),
        "question": note.question,
        "pictures": note.pictures,
        "texts": note.texts,
        "input": note.input,
        "cached": note.cached,
        "written": note.written,
        "output": note.output,
        "plain": note.plain,
        "told_cost": note.told_cost,
        "table_cost": note.table_cost,
    }


def read_calibrations(
    redis: Redis, kinds: Sequence[str] | None = None
) -> dict[str, TokenCalibration | None]:
    """Return the calibration of each kind (`kind_of`), by default of all."""
    if kinds is None:
        listed: Any = redis.zrange(USAGE_KINDS, 0, -1)
        kinds = [kind.decode() for kind in listed]
    replies = _hashes(redis, [USAGE + kind for kind in kinds])
    return {kind: calibrate(sums) for kind, sums in zip(kinds, replies, strict=True)}


def read_cost_ratios(redis: Redis) -> dict[str, float]:
    """Return the provider's reported cost as a share of the table's price.

    Only of models whose answers tell their cost.
    """
    listed: Any = redis.zrange(USAGE_KINDS, 0, -1)
    kinds = [kind.decode() for kind in listed]
    costs: dict[str, list[float]] = {}
    for kind, sums in zip(kinds, _hashes(redis, [USAGE + kind for kind in kinds]), strict=True):
        of_model = costs.setdefault(split_kind(kind)[0], [0, 0])
        of_model[0] += sums.get("told_cost", 0)
        of_model[1] += sums.get("table_cost", 0)
    return {model: told / by_table for model, (told, by_table) in costs.items() if by_table > 0}


def read_outputs(redis: Redis, questions: Sequence[str]) -> dict[str, Output]:
    """Return answer lengths of frequently answered questions (`question_of`)."""
    found = {}
    for name, sums in zip(
        questions, _hashes(redis, [QUESTION + name for name in questions]), strict=True
    ):
        if (answers := int(sums.get("answers", 0))) >= ENOUGH:
            mean = sums["output"] / sums["weight"]
            found[name] = Output(answers, mean, _deviation(sums), *_caching(sums))
    return found


def _caching(sums: Mapping[str, float]) -> tuple[float | None, float]:
    recent, rest = sums.get("recent", 0), sums.get("rest", 0)
    if not recent:
        return None, 0
    return sums["cached"] / recent, min(1.0, sums["written"] / rest) if rest > 0 else 0


def _hashes(redis: Redis, keys: Sequence[str]) -> list[dict[str, float]]:
    with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hgetall(key)
        replies = pipeline.execute()
    return [_sums(reply) for reply in replies]


def _sums(reply: Mapping[bytes, bytes]) -> dict[str, float]:
    return {name.decode(): float(value) for name, value in reply.items()}


#: Seconds for which a model that has answered counts as in use.
_LATELY: Final = 7 * 24 * 3600


class _All:
    def __contains__(self, _: object) -> bool:
        return True


_ANY: Final = _All()


def models_in_use(redis: Redis, now: float, among: Container[str] = _ANY) -> set[str]:
    """Return the models with queued jobs or with answers within the last week.

    `now` is seconds since the epoch; `among` leaves out other names.
    """
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.hgetall(LANE_SIZES)
        pipeline.zrangebyscore(USAGE_KINDS, (now - _LATELY) * 1000, "+inf")
        lanes: Any
        kinds: Any
        lanes, kinds = pipeline.execute()
    queued = {lane.decode().split(":", 2)[2] for lane, size in lanes.items() if int(size) > 0}
    answered = {split_kind(kind.decode())[0] for kind in kinds}
    return {model for model in queued | answered if model in among}


class CalibrationReader:
    """Caches calibrations for `rest` seconds, for all jobs of a process."""

    def __init__(self, redis: AsyncRedis, monotonic: Callable[[], float], rest: float = 10) -> None:
        self._redis = redis
        self._monotonic = monotonic
        self._rest = rest
        self._known: dict[str, tuple[float, TokenCalibration | None]] = {}
        self._least: dict[str, tuple[float, int | None]] = {}

    async def of(
        self, model: str, detail: str, effort: str | None = None
    ) -> TokenCalibration | None:
        """Return the calibration of a model at one `detail` and effort, at most seconds old."""
        kind, now = kind_of(model, detail, effort), self._monotonic()
        read, calibration = self._known.get(kind, (None, None))
        if read is None or now - read > self._rest:
            sums: Any = await self._redis.hgetall(USAGE + kind)
            calibration = calibrate(_sums(sums))
            self._known[kind] = (now, calibration)
        return calibration

    async def least_input(self, question: str) -> int | None:
        """Return the fewest tokens counted for a question, at most seconds old.

        None: it was never asked.
        """
        now = self._monotonic()
        read, least = self._least.get(question, (None, None))
        if read is None or now - read > self._rest:
            found: Any = await self._redis.hget(QUESTION + question, "least")
            least = None if found is None else int(float(found))
            if len(self._least) >= _MOST_QUESTIONS:
                self._least.clear()
            self._least[question] = (now, least)
        return least
