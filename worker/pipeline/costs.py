"""Tokens and money of a call: forecast, reservation and actual cost.

The provider's own figure counts; without one, the table of prices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.crops import crops_note
from visionq.ledger.records import UsageNote
from visionq.ledger.usage import likely_input, most_texts, question_of, reserved_input
from visionq.pricing.prices import ORDINARY_TIERS, cost_nano_rubles, worst_case_nano_rubles
from visionq.pricing.vision import forecast_text_tokens, forecast_texts
from worker.provider.checked_usage import COST_DISBELIEVED, DISBELIEVED, DisbelievedUsage, Expected
from worker.provider.request import repair_texts, with_report

if TYPE_CHECKING:
    from visionq.contract import Usage
    from worker.pipeline.context import Attempt

#: How often the most that a call can cost by the table may be surpassed: a seller may be dearer.
_BEYOND: Final = 15
#: Nano-rubles: the most that a call can cost whose model has no price.
_MOST: Final = 10_000 * 10**9


def most_believed(attempt: Attempt) -> int:
    """Return the most nano-rubles that the provider is believed to have charged for the call."""
    return attempt.worst_case * _BEYOND or _MOST


def cost_of(attempt: Attempt, usage: Usage | None) -> int:
    """Return nano-rubles of a paid call: as reported or counted, else the worst case."""
    return priced(attempt, usage)[0]


def priced(attempt: Attempt, usage: Usage | None) -> tuple[int, bool, tuple[str, ...]]:
    """Return nano-rubles of a paid call, whether they are an estimate, and warnings.

    The provider's own figure takes precedence over our count.
    """
    reported, share = attempt.reported_cost, attempt.share
    if share is not None:
        return share.cost, share.is_estimate, share.warnings
    if reported.nano_rubles is not None:
        return reported.nano_rubles, False, ()
    cost, is_estimate, warnings = by_table(attempt, usage)
    if reported.is_disbelieved:
        return cost, True, (COST_DISBELIEVED, *warnings)
    return cost, is_estimate, warnings


def by_table(attempt: Attempt, usage: Usage | None) -> tuple[int, bool, tuple[str, ...]]:
    """Return the cost by the price table alone."""
    price = attempt.price
    if price is None:
        return 0, True, (f"no price is known for {attempt.model}: the cost is not counted",)
    if usage is None:
        warning = "the provider did not say what it counted: the cost is the most it can be"
        return attempt.worst_case, True, (warning,)
    if isinstance(usage, DisbelievedUsage):
        return attempt.worst_case, True, (DISBELIEVED,)
    asked, served = attempt.tier, attempt.served_tier
    tier = _billed_tier(asked, served)
    if served is None and attempt.cheaper_tier is not None:
        tier = attempt.job.service_tier  # nothing shows that it was served at the cheaper one
    if price.tier_factor(tier) is None:
        warning = f"service_tier {tier}, which nobody asked for, has no price: the bill may differ"
        return cost_nano_rubles(price, usage, asked), True, (warning,)
    return cost_nano_rubles(price, usage, tier), not price.confirmed, ()


def _billed_tier(asked: str | None, served: str | None) -> str | None:
    """Return the tier that is billed: a full tier falls back to the ordinary one.

    A call at `fast` is reported as served at `priority` (openai 3.57), so any other name means
    the tier that was requested.
    """
    if served is None or (served not in ORDINARY_TIERS and asked not in ORDINARY_TIERS):
        return asked
    return served


#: Bytes of texts that cost so little that nobody asks what they counted before.
_FEW_BYTES: Final = 1000


async def learn(attempt: Attempt) -> None:
    """Load the learned token statistics of this call before its forecast."""
    dependencies, job = attempt.dependencies, attempt.job
    attempt.calibration = await dependencies.calibration(attempt.model, job.detail, job.effort)
    is_long = _sent_bytes(attempt) > _FEW_BYTES
    if is_long and _is_plain(attempt) and attempt.claim.faulty is None:
        attempt.least_input = await dependencies.least_input(question_of(job))


def worst_case(attempt: Attempt) -> int:
    """Return the most that the call can cost, in nano-rubles."""
    price = attempt.price
    if price is None:
        return 0
    tokens, answer = _most_input(attempt), _longest_answer(attempt)
    return worst_case_nano_rubles(price, tokens, answer, attempt.tier)


def likely_tokens(attempt: Attempt) -> int:
    """Return the tokens that the call is paced by, of question and answer."""
    return likely_input(attempt.calibration, *_forecast(attempt)) + _longest_answer(attempt)


def expected(attempt: Attempt) -> Expected:
    """Return the expected usage, by which the provider's figures are checked."""
    return Expected(
        input_tokens=sum(_forecast(attempt)),
        reserved_input=_most_input(attempt),
        longest_answer=_longest_answer(attempt),
    )


def _most_input(attempt: Attempt) -> int:
    pictures, texts = _forecast(attempt)
    most = most_texts(_sent_bytes(attempt), texts, attempt.least_input)
    return reserved_input(attempt.calibration, pictures, most)


def _sent_bytes(attempt: Attempt) -> int:
    """Return the bytes of texts in the call."""
    return attempt.request.text_bytes if attempt.request else 0


def _is_plain(attempt: Attempt) -> bool:
    """Return whether the call holds only the pictures and the question's own texts."""
    is_cut = any(picture.crops for picture in attempt.pictures)
    return not attempt.asked and not attempt.job.extra_body and not is_cut


def _longest_answer(attempt: Attempt) -> int:
    limit = with_report(attempt.job, attempt.asked, sum(attempt.parts)).max_output_tokens
    return limit or attempt.dependencies.settings.default_max_output_tokens


def usage_note(attempt: Attempt, usage: Usage | None) -> UsageNote | None:
    """Return the observation of a call for forecasts; None without any.

    Of a picture that was never seen, and of a repair, only what the provider says that it cost.
    """
    if attempt.share is not None:
        return None  # the call had other texts than this question alone
    seen = all(picture.forecast_tokens and not picture.url for picture in attempt.pictures)
    is_told = usage is not None and not isinstance(usage, DisbelievedUsage)
    if usage is None or not is_told or not usage.input_tokens:
        return None
    is_forecast, costs = seen and attempt.claim.faulty is None, _costs(attempt, usage)
    if not is_forecast and not costs:
        return None
    pictures, texts = _forecast(attempt)
    return UsageNote(
        model=attempt.model,
        detail=attempt.job.detail,
        question=question_of(attempt.job),
        pictures=pictures,
        texts=texts,
        input=usage.input_tokens,
        cached=usage.cached_tokens,
        written=usage.cache_write_tokens,
        output=usage.output_tokens,
        plain=_is_plain(attempt),
        effort=attempt.job.effort,
        is_forecast=is_forecast,
        **costs,
    )


def _costs(attempt: Attempt, usage: Usage) -> dict[str, int]:
    """Return the cost by the provider and by the table, if both are known."""
    reported = attempt.reported_cost.nano_rubles
    has_price = attempt.price is not None
    if reported is None or not has_price:
        return {}
    return {"told_cost": reported, "table_cost": by_table(attempt, usage)[0]}


def _forecast(attempt: Attempt) -> tuple[int, int]:
    """Return the tokens of the pictures and of all texts, which are counted once."""
    if attempt.forecast is None:
        attempt.forecast = _counted(attempt)
    return attempt.forecast


def _counted(attempt: Attempt) -> tuple[int, int]:
    if attempt.claim.faulty is not None:
        instructions, prompt = repair_texts(attempt.job, attempt.claim.faulty)
        return 0, forecast_texts(prompt, instructions, attempt.job.answer_schema)
    job = with_report(attempt.job, attempt.asked, sum(attempt.parts))
    pictures = sum(picture.forecast_tokens for picture in attempt.pictures)
    texts = forecast_texts(job.prompt, job.instructions, job.answer_schema)
    return pictures, texts + forecast_text_tokens(crops_note(attempt.parts))
