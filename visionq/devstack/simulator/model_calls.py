"""One call of a model, from the request's bytes to the paid answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Final

import aiohttp

from visionq.devstack.simulator.account import NANO_RUBLE
from visionq.devstack.simulator.cache import Segment, Use, prefixes_of
from visionq.devstack.simulator.faults import Fault
from visionq.devstack.simulator.generated_answers import (
    MESSAGE_TOKENS,
    SimulatedAnswer,
    described,
    document,
    known_by,
    lengthened,
    spoken,
    text_tokens,
)
from visionq.devstack.simulator.model_catalogue import (
    ORDINARY,
    Counted,
    TooManyPatchesError,
    UnsupportedDetailError,
)
from visionq.devstack.simulator.question import read_question
from visionq.devstack.simulator.reasoning import reasoning_tokens
from visionq.devstack.simulator.refusals import by_openai, wrong_value
from visionq.devstack.simulator.refused_options import check_options
from visionq.devstack.simulator.seen_pictures import SeenPicture, bytes_of, look, too_large
from visionq.devstack.simulator.truths import Quality

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from visionq.devstack.simulator.account import Account
    from visionq.devstack.simulator.model_catalogue import SimulatedPrice
    from visionq.devstack.simulator.question import ModelRequest, PictureSource

#: Tokens of an answer that sets no limit, as far as the balance must cover them (gpt-6-luna's).
MOST_OUTPUT_TOKENS: Final = 16_384
#: What stands for the tier that the account is set to.
UNNAMED_TIERS: Final = (None, "auto", ORDINARY)
#: As what answers name a tier that has two names (openai 3.57).
SHOWN_AS: Final = {"fast": "priority"}
#: Pictures whose facts are remembered.
REMEMBERED: Final = 4096
#: Characters of a data URL above which it is decoded beside the event loop.
SMALL: Final = 8_192
#: Seconds for fetching a picture.
FETCH_TIMEOUT: Final = 15

DECLINED: Final = "I'm sorry, but I can't help with that request."


@dataclass(frozen=True)
class PaidAnswer:
    """A paid answer, as bytes, and the model that gave it."""

    body: bytes
    model: str


class Eyes:
    """Reads pictures, and remembers those it has read."""

    def __init__(self, executor: Executor, session: aiohttp.ClientSession, limit: int) -> None:
        """Decode in `executor`, fetch by `session`, and take `limit` bytes a picture at most."""
        self._executor = executor
        self._session = session
        self._limit = limit
        self._seen: OrderedDict[bytes, SeenPicture] = OrderedDict()

    async def see(self, source: PictureSource) -> SeenPicture:
        """Return the facts of one picture; raise the provider's `Refusal` if it can't be seen."""
        if not source.url.startswith("data:"):
            return await self._decode(await self._fetch(source), source.param)
        key = hashlib.sha256(source.url.encode("utf-8", "surrogatepass")).digest()
        known = self._seen.get(key)
        if known is not None:
            self._seen.move_to_end(key)
            return known
        if len(source.url) <= SMALL:
            facts = look(bytes_of(source.url, source.param, self._limit), source.param)
        else:
            facts = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._look_at_url, source
            )
        self._seen[key] = facts
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return facts

    def _look_at_url(self, source: PictureSource) -> SeenPicture:
        return look(bytes_of(source.url, source.param, self._limit), source.param)

    async def _decode(self, content: bytes, param: str) -> SeenPicture:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, look, content, param)

    async def _fetch(self, source: PictureSource) -> bytes:
        try:
            async with self._session.get(source.url) as response:
                response.raise_for_status()
                content = bytearray()
                async for chunk in response.content.iter_chunked(65_536):
                    content += chunk
                    if len(content) > self._limit:
                        raise too_large(source.param, self._limit)
                return bytes(content)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            message = f"Failed to download image from {source.url}."
            raise by_openai(message, param=source.param, code="failed_to_download_image") from None


@dataclass(frozen=True)
class ModelCall:
    """One request, as received."""

    api: str
    #: The path below which it was asked.
    base: str
    body: object
    digest: str
    fault: Fault | None = None
    #: The `custom_id` of a line of a batch: unpaced, and cheaper.
    batch_line: str | None = None

    async def answer(self, account: Account, eyes: Eyes) -> PaidAnswer:
        """Check, admit, charge and answer.

        Raises `Refusal`, uncharged, where the provider would refuse. Charging is the last step
        that can refuse: a `PaidAnswer` is paid for.
        """
        question = read_question(self.api, self.body)
        account.check_model(question.model, self.base)
        check_options(question)
        self._take_permit(account, "requests", question.model, 1)
        self._check_pictures(question, account)
        facts = [await eyes.see(source) for source in question.pictures]
        price = account.catalogue.price(question.model)
        tier = _tier(question, price, account)
        use, counted = _read(question, facts, account)
        reasoning = reasoning_tokens(question, self.digest, account.catalogue)
        answer = _answer(question, facts, self.fault, account, counted, reasoning)
        counted = answer.counted
        self._take_permit(account, "tokens", question.model, counted.input + counted.output)
        most = replace(counted, output=question.max_output_tokens or MOST_OUTPUT_TOKENS)
        rub = self._priced(account, price, counted, tier)
        at_most = self._priced(account, price, most, tier)
        account.admit(self.digest, at_most, rub, self.batch_line)
        account.cache.keep(use)
        answer = replace(answer, tier=SHOWN_AS.get(tier, tier))
        said = account.dialect.bill(document(question, answer), rub, account.settings.balance_rub)
        return PaidAnswer(encoded(said), question.model)

    async def input_tokens(self, account: Account, eyes: Eyes) -> int:
        """Return the question's input tokens; raise `SimulatedRefusal` for an invalid one."""
        question = read_question(self.api, self.body)
        facts = [await eyes.see(source) for source in question.pictures]
        return _read(question, facts, account)[1].input

    def _check_pictures(self, question: ModelRequest, account: Account) -> None:
        pictures = question.pictures
        if self.batch_line is not None and pictures and not account.settings.batch_pictures:
            message = "Images are not supported in batch requests."
            raise by_openai(message, param=pictures[0].param, code="unsupported_value")
        if len(pictures) > account.catalogue.max_images:
            message = f"Too many images: at most {account.catalogue.max_images} are allowed."
            raise by_openai(message, param="input", code="too_many_images")

    def _take_permit(self, account: Account, kind: str, model: str, amount: float) -> None:
        if self.batch_line is None:
            account.take_permit(kind, model, amount)

    def _priced(
        self, account: Account, price: SimulatedPrice, counted: Counted, tier: str
    ) -> Decimal:
        rub = account.priced(price.of(counted, tier))
        if self.batch_line is None:
            return rub
        return (rub * price.batch).quantize(NANO_RUBLE, ROUND_CEILING)


def encoded(value: object) -> bytes:
    """Encode JSON as UTF-8; escape lone surrogates, which UTF-8 can't encode."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def _read(
    question: ModelRequest, facts: list[SeenPicture], account: Account
) -> tuple[Use, Counted]:
    """Return the question's cache reads and writes, and its total tokens."""
    segments = _segments(question, facts, account)
    terms = account.catalogue.cache_terms(question.model)
    use = Use()
    if terms is not None:
        prefixes = prefixes_of(question.model, segments)
        use = account.cache.use(prefixes, terms, question.cache)
    factor = account.settings.token_factor
    whole = _times(sum(each.tokens for each in segments), factor)
    read = min(_times(use.read, factor), whole)
    written = min(_times(use.written, factor), whole - read)
    by_lifetime = {f"written_{use.lifetime}": written}
    return use, Counted(input=whole, output=0, read=read, **by_lifetime)


def _segments(question: ModelRequest, facts: list[SeenPicture], account: Account) -> list[Segment]:
    """Return the parts of the prompt in order, the answer's schema first."""
    form = json.dumps([question.answer_format.kind, question.answer_format.schema], sort_keys=True)
    segments, seen = [Segment(form, MESSAGE_TOKENS)], iter(facts)
    for part in question.parts:
        if part.picture is None:
            content = part.text or ""
            tokens = text_tokens(content)
        else:
            content = part.picture.url + part.picture.detail
            tokens = _picture_tokens(account, question.model, part.picture, next(seen))
        segments.append(Segment(content, tokens, part.breakpoint))
    return segments


def _answer(  # noqa: PLR0917  # what an answer is made of
    question: ModelRequest,
    facts: list[SeenPicture],
    fault: Fault | None,
    account: Account,
    counted: Counted,
    reasoning: int,
) -> SimulatedAnswer:
    factor = account.settings.token_factor
    refused, quality = fault is Fault.REFUSAL, _quality(question, account)
    if fault is Fault.WRONG_FORM:
        text = described(question, facts)
    else:
        text = DECLINED if refused else spoken(question, facts, quality)
    probability = quality.probability(text, known_by(facts)) if quality is not None else None
    if question.answer_format.kind == "text":
        text = lengthened(text, account.settings.answer_tokens)
    whole = text_tokens(text)
    limit = question.max_output_tokens or MOST_OUTPUT_TOKENS
    thought = min(_times(reasoning, factor), limit)
    most = whole // 2 if fault is Fault.INCOMPLETE else limit - thought
    cut = whole > most
    if cut:
        text = text[: len(text) * most // whole]
    # However the bill is scaled, an answer is never charged beyond the limit that was set.
    written = thought + min(_times(min(whole, most), factor), limit - thought)
    counted = replace(counted, output=written)
    return SimulatedAnswer(
        text,
        counted,
        reasoning_tokens=thought,
        refused=refused,
        cut=cut,
        probability=probability,
    )


def _quality(question: ModelRequest, account: Account) -> Quality | None:
    """Return the model's accuracy at the detail of the first picture."""
    accuracies = account.settings.accuracies
    if not accuracies:
        return None
    detail = question.pictures[0].detail if question.pictures else ""
    usual = accuracies.get(question.model, 1.0)
    accuracy = accuracies.get(f"{question.model}@{detail}", usual)
    sureness = account.settings.sureness.get(question.model)
    return Quality(account.settings.truth_seed, question.model, accuracy, sureness)


def _tier(question: ModelRequest, price: SimulatedPrice, account: Account) -> str:
    """Return the service tier of a call, or refuse one that the model lacks."""
    asked = question.body.get("service_tier")
    if asked in UNNAMED_TIERS or asked in account.settings.full_tiers:
        return ORDINARY
    if asked in account.settings.refused_tiers:
        message = f"There is no room at service tier {asked} right now. Please try again later."
        raise by_openai(message, code="resource_unavailable", status=429)
    if asked not in price.tiers:
        raise wrong_value("service_tier", asked, ("auto", ORDINARY, *price.tiers))
    return str(asked)


def _picture_tokens(account: Account, model: str, source: PictureSource, fact: SeenPicture) -> int:
    detail_param = source.param.rpartition(".")[0] + ".detail"
    try:
        return account.catalogue.tokens(model, fact.width, fact.height, source.detail)
    except UnsupportedDetailError as error:
        raise wrong_value(detail_param, source.detail, error.args[0]) from None
    except TooManyPatchesError:
        message = f"The image of {fact.size} pixels is too large for {model}."
        raise by_openai(message, param=source.param, code="image_too_large") from None


def _times(tokens: int, factor: float) -> int:
    scaled = Decimal(tokens) * Decimal(str(factor))
    return int(scaled.to_integral_value(ROUND_HALF_UP))
