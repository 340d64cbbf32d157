"""Turn the fields that a caller gives into a valid job."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from visionq.answer_schemas import check_schema
from visionq.blobs import sha256_of
from visionq.contract import JobDocument, Lane, parse_job
from visionq.contract.base import BatchName
from visionq.contract.job import MOST_OUTPUT_TOKENS
from visionq.contract.owned import with_own_fields
from visionq.errors import EmptyFile, InvalidJob, TooLarge
from visionq.model_migrations import NO_MIGRATIONS
from visionq.needed_by import moment_needed
from visionq.pricing.model_options import check_model_options, load_option_table
from visionq.pricing.prices import ORDINARY_TIERS, check_tier, load_prices
from visionq.pricing.prompt_cache import check_prompt_cache
from visionq.providers import load_profile
from visionq.sureness import Sureness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from visionq.contract import Cascade
    from visionq.model_migrations import ModelMigrations
    from visionq.pricing.model_options import OptionTable
    from visionq.providers import ProviderProfile
    from visionq.settings import Settings

#: Blanks that base64 may contain.
_BLANKS: Final = b" \t\r\n\v\f"
_MOST_PADDING: Final = 2
#: From percent-encoding to quoted-printable, which the standard library decodes in C: `urllib`
#: would take seconds and gigabytes for 50 MB.
_AS_QUOTED_PRINTABLE: Final = bytes.maketrans(b"%", b"=")
_PIECE: Final = 1 << 20
#: Fields that `prepare` fills in.
DEFAULTED: Final = ("model", "effort", "max_output_tokens")
NO_TIME_IN_BATCH: Final = (
    "by: an answer from lane batch comes when its batch does; set lane to auto, which keeps the"
    " time, or leave `by` out (`deadline` ends a job that is not answered by then)"
)
_BATCH_NAME: Final[TypeAdapter[str]] = TypeAdapter(BatchName)


def prepare(
    fields: Mapping[str, Any], settings: Settings, migrations: ModelMigrations = NO_MIGRATIONS
) -> JobDocument:
    """Return the job with defaults from the settings: model, effort, longest answer.

    `migrations` are those in force; without them the model is asked that the job names.

    Raises:
        InvalidJob: a field is wrong, or the model does not take it; the message names the first.
        ConfigurationError: a table, a default of the settings, or the prices can't be used.
    """
    table = load_option_table(settings.options_file)
    table.check_default_effort(settings.default_effort)
    job = _storable(parse_job(_with_moment(fields)))
    model = migrations.model_of(job.model, job.tenant, settings.default_model)
    job = _with_defaults(job, model, table, settings)
    check_model_options(job, table)
    check_prompt_cache(job, table)
    if job.further_models:
        named = fields.get("model") or settings.default_model
        check_further_models(job, named, frozenset(defaulted(fields)), table, settings)
    if job.batch_id is not None:
        check_batch_name(job.batch_id, "batch_id")
    if job.lane is Lane.BATCH:
        check_batch_lane(job, load_profile(settings.provider))
    if job.service_tier not in ORDINARY_TIERS:
        check_tier(load_prices(settings.prices_file), job.model or "", job.service_tier)
    return job


def asked_of(
    job: JobDocument,
    model: str,
    defaulted: AbstractSet[str],
    table: OptionTable,
    settings: Settings,
) -> JobDocument:
    """Return the job as it is asked of another model, with that model's defaults."""
    unset = dict.fromkeys(defaulted & {"effort", "max_output_tokens"})
    return _with_defaults(job.model_copy(update=unset), model, table, settings)


def check_further_models(
    job: JobDocument,
    named: str,
    defaulted: AbstractSet[str],
    table: OptionTable,
    settings: Settings,
) -> None:
    """Refuse a fallback or a cascade that can't be asked as the job says.

    `named` is the model that the caller gave: it may be migrated to one of the others.

    Raises:
        InvalidJob: the message names the field, and the model.
    """
    if job.lane is Lane.BATCH:
        raise InvalidJob(
            "lane: a job with further models goes on online; set it to auto, or leave them out"
        )
    prices, seen = load_prices(settings.prices_file), {named}
    for field, model in _further(job):
        if model in seen:
            raise InvalidJob(f"{field}: {model} is named twice; leave one of them out")
        seen.add(model)
        if prices.for_model(model) is None:
            raise InvalidJob(
                f"{field}: {model} has no price; check its name, or enter a price in the file that"
                " VISIONQ_PRICES_FILE names"
            )
        asked = asked_of(job, model, defaulted, table, settings)
        try:
            check_model_options(asked, table)
            check_prompt_cache(asked, table)
            if job.service_tier not in ORDINARY_TIERS:
                check_tier(prices, model, job.service_tier)
        except InvalidJob as error:
            raise InvalidJob(f"{field}: {error.message}") from None
    if job.cascade is not None:
        _check_sureness(job, job.cascade)


def _further(job: JobDocument) -> Iterator[tuple[str, str]]:
    if job.cascade is not None:
        yield from (("cascade.models", model) for model in job.cascade.models)
    yield from (("fallback", model) for model in job.fallback)


def _check_sureness(job: JobDocument, cascade: Cascade) -> None:
    if cascade.sureness is Sureness.AGREEMENT and len(cascade.models) == 1:
        raise InvalidJob(
            "cascade.sureness: agreement is that of two models before the last; name one more"
        )
    if cascade.sureness is not Sureness.FIELD:
        return
    if job.answer_schema is None:
        raise InvalidJob(
            "cascade.sureness: field needs an answer_schema with that field; give one, or choose"
            f" {Sureness.LOGPROBS} or {Sureness.AGREEMENT}"
        )
    first = cascade.field.partition(".")[0]
    known = job.answer_schema.get("properties")
    if isinstance(known, dict) and first not in known:
        raise InvalidJob(f"cascade.field: the answer_schema has no property {first!r}")


def check_batch_lane(job: JobDocument, profile: ProviderProfile) -> None:
    """Refuse the batch lane for a job that can't go through it.

    Raises:
        InvalidJob: the message says what keeps it from there.
    """
    if job.by is not None:
        raise InvalidJob(NO_TIME_IN_BATCH)
    if job.service_tier not in ORDINARY_TIERS:
        raise InvalidJob(
            f"lane: a batch has no service_tier {job.service_tier}; leave one of the two out"
        )
    if not profile.has_batches(job.model or "", job.api):
        raise InvalidJob(
            f"lane: {profile.name} has no batches of {job.model} by the API {job.api}; set it to"
            " auto or online"
        )


def _with_moment(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields with `by` as a moment: a duration begins now."""
    if fields.get("by") is None:
        return fields
    return {**fields, "by": moment_needed(fields["by"], datetime.now(UTC))}


def _with_defaults(
    job: JobDocument, model: str, table: OptionTable, settings: Settings
) -> JobDocument:
    effort = job.effort or table.effort_of(model, settings.default_effort)
    limit = job.max_output_tokens
    if limit is None:
        limit = settings.default_max_output_tokens + table.room(model, effort)
        limit = min(limit, MOST_OUTPUT_TOKENS)
    return job.model_copy(update={"model": model, "effort": effort, "max_output_tokens": limit})


def check_batch_name(name: str, field: str) -> None:
    """Check the name of a batch.

    Raises:
        InvalidJob: it is not valid; the message names `field`.
    """
    try:
        _BATCH_NAME.validate_python(name)
    except ValidationError:
        raise InvalidJob(
            f"{field}: {ascii(name)[:80]} is not a batch's name:"
            " 1 to 128 visible ASCII characters, without * ? [ ] \\"
        ) from None


def migrated(fields: Mapping[str, Any], job: JobDocument) -> str | None:
    """Return the model that the caller named, where the job asks another in its place."""
    named = fields.get("model")
    return str(named) if named is not None and named != job.model else None


def defaulted(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields that `prepare` fills in because the caller omits them."""
    own = with_own_fields(fields)
    return tuple(name for name in DEFAULTED if own.get(name) is None)


def _storable(job: JobDocument) -> JobDocument:
    """Refuse JSON that a worker could not read; only two fields can contain it."""
    if not job.extra_body and job.answer_schema is None:
        return job
    try:
        JobDocument.model_validate_json(job.to_compact_json().encode())
    except (ValueError, RecursionError):
        field = "extra_body" if job.answer_schema is None else "answer_schema"
        raise InvalidJob(f"{field}: nested too deep, or not plain JSON") from None
    if job.answer_schema is not None:
        check_schema(job.answer_schema)
    return job


def is_data_url(url: object) -> bool:
    """Return whether a picture's address is a data URL."""
    return isinstance(url, str) and url[:5].lower() == "data:"


def extract_data_urls(fields: Mapping[str, Any], most: int) -> tuple[dict[str, Any], list[bytes]]:
    """Turn pictures given as `data:…;base64,…` into references to blobs.

    Return the fields without the bytes, and the bytes, which the caller stores before submitting
    the job. `prepare` checks the rest.

    Raises:
        InvalidJob: a data URL can't be decoded; the message names `images.N.url`.
        TooLarge: a picture has more than `most` bytes.
    """
    images = fields.get("images")
    if not isinstance(images, (list, tuple)):
        return dict(fields), []
    references, contents = [], []
    for position, image in enumerate(images):
        reference = image
        if isinstance(image, dict) and is_data_url(image.get("url")):
            content = decode_data_url(image["url"], position, most, _name_in(image))
            contents.append(content)
            reference = {**image, "url": None, "blob": sha256_of(content)}
        references.append(reference)
    return {**fields, "images": references}, contents


def _name_in(image: Mapping[str, Any]) -> str | None:
    name = image.get("name")
    return name if isinstance(name, str) else None


def decode_data_url(url: str, position: int, most: int, name: str | None = None) -> bytes:
    """Return the bytes of the picture at `position`, counted from 0.

    Time and memory are proportional to the length of the address.

    Raises:
        InvalidJob: it is not `data:<type>;base64,<data>` (RFC 2397).
        TooLarge: the picture has more than `most` bytes; they are not decoded.
    """
    where = f"images.{position}.url"
    comma = url.find(",")
    if url[max(comma - 7, 5) : max(comma, 5)].lower() != ";base64":
        raise InvalidJob(f"{where}: a data URL must be data:<type>;base64,<data>")
    try:
        data = _unescaped(url[comma + 1 :].encode("ascii"))
        if len(data) // 4 * 3 - _MOST_PADDING > most:
            label = name or f"image {position + 1}"
            raise TooLarge(f"the file has more than {most:,} bytes", image=label)
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        reason = "it contains other characters" if isinstance(error, UnicodeError) else error
        raise InvalidJob(f"{where}: the data URL is not valid base64 ({reason})") from None


def _unescaped(data: bytes) -> bytes:
    """Return base64 without percent-encoding and blanks; raise `ValueError`.

    It works piece by piece: the standard library holds the interpreter during each piece.
    """
    is_escaped = b"%" in data
    if is_escaped and data.count(b"=") > _MOST_PADDING:
        raise ValueError("a broken escape")
    whole, left = bytearray(), b""
    for start in range(0, len(data), _PIECE):
        piece = left + data[start : start + _PIECE].translate(None, _BLANKS)
        is_last = start + _PIECE >= len(data)
        # An escape that is cut belongs to the next piece.
        cut = -1 if is_last else piece.find(b"%", max(0, len(piece) - 2))
        left = b"" if cut < 0 else piece[cut:]
        piece = piece if cut < 0 else piece[:cut]
        whole += _unescaped_piece(piece) if is_escaped else piece
    return bytes(whole)


def _unescaped_piece(piece: bytes) -> bytes:
    quoted = piece.replace(b"=", b"%3D").translate(_AS_QUOTED_PRINTABLE)
    decoded = binascii.a2b_qp(quoted)
    # A valid escape gets two bytes shorter; an invalid one does not.
    if len(decoded) != len(quoted) - 2 * quoted.count(b"="):
        raise ValueError("a broken escape")
    return decoded.translate(None, _BLANKS)


def check_size(content: bytes, name: str, most: int) -> bytes:
    """Return the bytes of a picture, or raise.

    Raises:
        EmptyFile: there are none.
        TooLarge: there are more than `most`.
    """
    if not content:
        raise EmptyFile("the file is empty", image=name)
    if len(content) > most:
        raise TooLarge(f"the file has more than {most:,} bytes", image=name)
    return content
