"""The table of faults, row by row, through the real client on a transport that makes no I/O."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import httpx2
import pytest
from openai.types.responses import ResponseError

from visionq import errors
from visionq.contract import Api, Usage
from visionq.ledger import Failed
from visionq.ledger.records import Billing
from visionq.providers import load_profile
from visionq.settings import Settings
from worker.decision import AttemptFacts, billing_of, decide
from worker.provider.provider_client import ask, make_async_client
from worker.provider.refusal_rules import TABLE, UNLISTED, find
from worker.provider.reply import Reply, read_reason
from worker.provider.request import PATHS, ProviderRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

FREE = Billing.RELEASED
UNKNOWN = Billing.UNKNOWN
PAID = Billing.SETTLED


@dataclass(frozen=True)
class Case:
    name: str
    status: int
    body: object
    error: type[errors.VisionqError]
    billing: Billing = FREE
    #: What is held where the account is at fault.
    model: str | None = None


def openai_error(
    code: str | None, message: str = "No.", kind: str = "invalid_request_error"
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def failed(code: str, usage: dict[str, int] | None = None) -> dict[str, Any]:
    error = {"code": code, "message": "No."}
    return {"id": "resp_1", "status": "failed", "error": error, "output": [], "usage": usage}


def detail(text: object) -> dict[str, Any]:
    return {"detail": text}


HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
FIELDS = [{"loc": ["body", "model"], "msg": "Field required", "type": "missing"}]
TOKENS = {"input_tokens": 100, "output_tokens": 7, "total_tokens": 107}
DOWNLOAD = "Error while downloading https://example.com/a.jpg."

CASES = [
    # Permanent 429s and everything else about the account.
    Case("quota", 429, openai_error("insufficient_quota"), errors.InsufficientBalance),
    Case(
        "quota by its type",
        429,
        openai_error(None, kind="insufficient_quota"),
        errors.InsufficientBalance,
    ),
    Case("credit", 429, openai_error("credit_balance_exhausted"), errors.InsufficientBalance),
    Case(
        "organization spend",
        429,
        openai_error("organization_spend_limit_exceeded"),
        errors.InsufficientBalance,
    ),
    Case(
        "project spend",
        429,
        openai_error("project_spend_limit_exceeded"),
        errors.InsufficientBalance,
    ),
    Case(
        "organization usage",
        429,
        openai_error("organization_usage_limit_exceeded"),
        errors.InsufficientBalance,
    ),
    Case("quota in a 200", 200, openai_error("insufficient_quota"), errors.InsufficientBalance),
    Case(
        "balance",
        402,
        detail("Insufficient balance to run this request."),
        errors.InsufficientBalance,
    ),
    Case("key budget", 402, detail("API Key budget exceeded."), errors.InsufficientBalance),
    Case("month's budget", 402, detail("Monthly budget exceeded."), errors.InsufficientBalance),
    Case("budget as 403", 403, detail("API Key budget exceeded."), errors.InsufficientBalance),
    Case("balance in a 200", 200, detail("Insufficient balance."), errors.InsufficientBalance),
    Case("402 of another wording", 402, detail("Пополните счёт"), errors.InsufficientBalance),
    Case("402 in OpenAI's form", 402, openai_error("payment"), errors.InsufficientBalance),
    Case("key, by ProxyAPI", 401, detail("Invalid API Key"), errors.KeyRejected),
    Case("key, by OpenAI", 401, openai_error("invalid_api_key"), errors.KeyRejected),
    Case("key in a 200", 200, detail("Invalid API Key"), errors.KeyRejected),
    Case("account blocked", 401, detail("Account is blocked"), errors.KeyRejected),
    Case(
        "model forbidden",
        403,
        detail("Model gpt-5.4-mini is not allowed for this API Key."),
        errors.AccessDenied,
        model="m1",
    ),
    Case(
        "endpoint forbidden",
        403,
        detail("Endpoint is not allowed for this API Key."),
        errors.AccessDenied,
        model="m1",
    ),
    Case(
        "model forbidden, by OpenAI",
        403,
        openai_error("model_not_found", "Project does not have access to model gpt-5.4-mini"),
        errors.AccessDenied,
        model="m1",
    ),
    Case("address forbidden", 403, detail("IP address is not allowed."), errors.AccessDenied),
    Case("address unknown", 401, openai_error("ip_not_authorized"), errors.KeyRejected),
    Case("country", 403, openai_error("unsupported_country"), errors.AccessDenied),
    Case("no such path", 404, detail("Not Found"), errors.AccessDenied),
    # Too fast, overloaded, broken.
    Case("rate", 429, openai_error("rate_limit_exceeded", kind="tokens"), errors.RateLimited),
    Case("enqueued", 400, openai_error("token_limit_exceeded"), errors.RateLimited),
    Case("rate, by ProxyAPI", 429, detail("Too many requests"), errors.RateLimited),
    Case("flex", 429, openai_error("resource_unavailable"), errors.RateLimited),
    Case("slow down as 429", 429, openai_error("slow_down"), errors.RateLimited),
    Case("slow down", 503, openai_error("slow_down", kind="rate_limit_error"), errors.RateLimited),
    Case("rate, failed in a 200", 200, failed("rate_limit_exceeded"), errors.RateLimited),
    Case("500", 500, openai_error("server_error"), errors.ProviderUnavailable),
    Case("outage as 400", 400, openai_error("server_error"), errors.ProviderUnavailable),
    Case("500, by ProxyAPI", 500, detail("Internal error"), errors.ProviderUnavailable),
    Case("overloaded", 503, openai_error("server_is_overloaded"), errors.ProviderUnavailable),
    # The request.
    Case("malformed", 400, openai_error("invalid_type"), errors.RequestRejected),
    Case("malformed, by ProxyAPI", 400, detail("Bad JSON"), errors.RequestRejected),
    Case("fields", 422, detail(FIELDS), errors.RequestRejected),
    Case("too long", 400, openai_error("context_length_exceeded"), errors.RequestRejected),
    Case("prompt", 400, openai_error("invalid_prompt"), errors.RequestRejected),
    Case("region", 200, failed("data_residency_mismatch"), errors.RequestRejected),
    Case("model", 404, openai_error("model_not_found"), errors.ModelNotFound),
    Case("model as 400", 400, openai_error("model_not_found"), errors.ModelNotFound),
    Case("model, by ProxyAPI", 404, detail("Model gpt-0 not found"), errors.ModelNotFound),
    Case("body too large", 413, detail("Payload too large"), errors.TooLarge),
    Case("picture's content", 400, openai_error("image_content_policy_violation"), errors.Refused),
    Case("content", 400, openai_error("content_policy_violation"), errors.Refused),
    Case("content, failed in a 200", 200, failed("bio_policy"), errors.Refused),
    Case("misalignment", 200, failed("misalignment_policy_violation"), errors.Refused),
    # A picture: with an error status, and as a failed response.
    Case("download", 400, openai_error("failed_to_download_image"), errors.DownloadFailed),
    Case("download by value", 400, openai_error("invalid_value", DOWNLOAD), errors.DownloadFailed),
    Case(
        "download by address",
        400,
        openai_error("invalid_image_url", "Timeout while downloading a.jpg."),
        errors.DownloadFailed,
    ),
    Case(
        "size at download",
        400,
        openai_error("invalid_image", "Failed to download. Image size exceeds the limit."),
        errors.TooLarge,
    ),
    Case("invalid", 400, openai_error("invalid_image"), errors.CorruptImage),
    Case("base64", 400, openai_error("invalid_base64_image"), errors.CorruptImage),
    Case("parse", 400, openai_error("image_parse_error"), errors.CorruptImage),
    Case("parse, failed in a 200", 200, failed("image_parse_error"), errors.CorruptImage),
    Case("sanitizer", 400, openai_error("sanitizer_server_error"), errors.CorruptImage),
    Case("format", 400, openai_error("invalid_image_format"), errors.UnsupportedFormat),
    Case("mode", 400, openai_error("invalid_image_mode"), errors.UnsupportedFormat),
    Case("media", 400, openai_error("unsupported_image_media_type"), errors.UnsupportedFormat),
    Case(
        "format in words",
        400,
        openai_error(None, "You uploaded an unsupported image."),
        errors.UnsupportedFormat,
    ),
    Case("pixels", 400, openai_error("image_too_large"), errors.TooManyPixels),
    Case("bytes", 400, openai_error("image_file_too_large"), errors.TooLarge),
    Case("empty file", 400, openai_error("empty_image_file"), errors.EmptyFile),
    Case("file id", 400, openai_error("image_file_not_found"), errors.InputFileNotFound),
    Case("tiny", 400, openai_error("image_too_small"), errors.RequestRejected),
    Case("address", 400, openai_error("invalid_image_url"), errors.RequestRejected),
    Case("paid picture", 200, failed("invalid_image", TOKENS), errors.CorruptImage, PAID),
    # Sent, and nothing readable came: it may have been billed.
    Case("408", 408, openai_error("timeout"), errors.BillingUnknown, UNKNOWN),
    Case("409", 409, openai_error("conflict"), errors.BillingUnknown, UNKNOWN),
    Case(
        "a known code in a 502",
        502,
        openai_error("rate_limit_exceeded"),
        errors.BillingUnknown,
        UNKNOWN,
    ),
    Case("502", 502, openai_error("bad_gateway"), errors.BillingUnknown, UNKNOWN),
    Case("504", 504, detail("timeout"), errors.BillingUnknown, UNKNOWN),
    Case("524", 524, HTML, errors.BillingUnknown, UNKNOWN),
    Case("redirect", 307, "", errors.BillingUnknown, UNKNOWN),
    Case("500 with a page", 500, HTML, errors.BillingUnknown, UNKNOWN),
    Case("503 with nothing", 503, "", errors.BillingUnknown, UNKNOWN),
    Case("429 with a page", 429, HTML, errors.BillingUnknown, UNKNOWN),
    Case("500 of a gateway", 500, {"message": "no upstream"}, errors.BillingUnknown, UNKNOWN),
    Case("500 with a list", 500, ["no"], errors.BillingUnknown, UNKNOWN),
    Case("402 cut", 402, '{"detail": "Insuf', errors.BillingUnknown, UNKNOWN),
    Case("200 with a page", 200, HTML, errors.BillingUnknown, UNKNOWN),
    Case("200 with nothing", 200, "", errors.BillingUnknown, UNKNOWN),
    Case("200 cut", 200, '{"id": "resp_1", "output": [{"type"', errors.BillingUnknown, UNKNOWN),
    Case("200 with a number", 200, "12", errors.BillingUnknown, UNKNOWN),
    Case("200 with {}", 200, {}, errors.BillingUnknown, UNKNOWN),
    Case("error in a 200", 200, openai_error("server_error"), errors.BillingUnknown, UNKNOWN),
    Case("server error, failed", 200, failed("server_error"), errors.BillingUnknown, UNKNOWN),
    Case("timeout, failed", 200, failed("vector_store_timeout"), errors.BillingUnknown, UNKNOWN),
    Case("detail in a 200", 200, detail("Internal error"), errors.BillingUnknown, UNKNOWN),
    Case("failed, uncounted", 200, failed("server_error"), errors.BillingUnknown, UNKNOWN),
    Case("failed, counted", 200, failed("server_error", TOKENS), errors.Incomplete, PAID),
    Case("rate, counted", 200, failed("rate_limit_exceeded", TOKENS), errors.Incomplete, PAID),
    Case("cancelled", 200, {"status": "cancelled"}, errors.BillingUnknown, UNKNOWN),
    Case("queued", 200, {"status": "queued", "output": []}, errors.BillingUnknown, UNKNOWN),
]


def content(body: object) -> bytes:
    return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()


def request_of(*images: str, api: Api = Api.RESPONSES) -> ProviderRequest:
    return ProviderRequest(api, PATHS[api], b"{}", images, model="m1")


def raised(
    case: Case,
    *images: str,
    headers: dict[str, str] | None = None,
    api: Api = Api.RESPONSES,
) -> errors.VisionqError:
    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(case.status, content=content(case.body), headers=headers)

    settings = Settings(api_key="sk-test", base_url="https://provider.test/openai/v1")
    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    client = make_async_client(settings, http_client)
    with pytest.raises(errors.VisionqError) as caught:
        asyncio.run(ask(client, request_of(*(images or ("a.jpg",)), api=api)))
    return caught.value


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("status", [400, 404, 408, 429, 500, 502, 503])
def test_counted_is_counted_whatever_the_status(status: int, api: Api) -> None:
    """A refusal with a count of tokens was billed: it is settled at that, and not repeated."""
    into, out = ("input", "output") if api is Api.RESPONSES else ("prompt", "completion")
    usage = {f"{into}_tokens": 1200, f"{out}_tokens": 7}
    body = {"error": {"message": "no", "code": "failed_to_download_image"}, "usage": usage}
    for told in (body, {"error": {"message": "no"}, "usage": usage}, {"usage": usage}):
        error = raised(Case("", status, told, errors.VisionqError), api=api)
        assert error.usage == Usage(input_tokens=1200, output_tokens=7)
        assert billing_of(error) is Billing.SETTLED
        assert isinstance(decide(error, AttemptFacts(1, 10), random=lambda: 0.5), Failed)


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_answer_becomes_its_error_and_its_bill(case: Case, api: Api) -> None:
    """Every way to be refused has one error, and one meaning for the money, in both APIs."""
    if api is Api.CHAT_COMPLETIONS and case.billing is PAID:
        pytest.skip("Chat Completions have no `failed` with a count in it")
    error = raised(case, api=api)
    assert type(error) is case.error
    assert billing_of(error) is case.billing
    assert getattr(error, "model", None) == case.model


#: `ResponseError.code` of openai 3.54.0, which comes with a 400 or in a `failed` response → the
#: error, and where it differs that of the `failed` response: that one may have been billed.
CODES: dict[str, tuple[type[errors.VisionqError], ...]] = {
    "invalid_image": (errors.CorruptImage,),
    "invalid_image_format": (errors.UnsupportedFormat,),
    "invalid_base64_image": (errors.CorruptImage,),
    "invalid_image_url": (errors.RequestRejected,),
    "image_too_large": (errors.TooManyPixels,),
    "image_too_small": (errors.RequestRejected,),
    "image_parse_error": (errors.CorruptImage,),
    "image_content_policy_violation": (errors.Refused,),
    "invalid_image_mode": (errors.UnsupportedFormat,),
    "image_file_too_large": (errors.TooLarge,),
    "unsupported_image_media_type": (errors.UnsupportedFormat,),
    "empty_image_file": (errors.EmptyFile,),
    "image_file_not_found": (errors.InputFileNotFound,),
    "failed_to_download_image": (errors.DownloadFailed,),
    "invalid_prompt": (errors.RequestRejected,),
    "bio_policy": (errors.Refused,),
    "misalignment_policy_violation": (errors.Refused,),
    "data_residency_mismatch": (errors.RequestRejected,),
    "rate_limit_exceeded": (errors.RateLimited,),
    "server_error": (errors.ProviderUnavailable, errors.BillingUnknown),
    "vector_store_timeout": (errors.ProviderUnavailable, errors.BillingUnknown),
}


def test_no_code_is_forgotten() -> None:
    """Every code that the SDK knows is in the table, so that a new release shows what is new."""
    annotation = ResponseError.model_fields["code"].annotation
    assert set(get_args(annotation)) == CODES.keys()


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("code", CODES)
def test_each_code_both_ways(code: str, api: Api) -> None:
    """A code means the same as a 400 and in a `failed` response, which is free where it can be."""
    refused = raised(Case("", 400, openai_error(code), errors.VisionqError), api=api)
    as_failed = raised(Case("", 200, failed(code), errors.VisionqError), api=api)
    assert (type(refused), type(as_failed)) == (CODES[code][0], CODES[code][-1])
    assert billing_of(refused) is FREE
    is_unclear = type(as_failed) is errors.BillingUnknown
    assert billing_of(as_failed) is (UNKNOWN if is_unclear else FREE)


def test_every_row_of_the_table_is_reached() -> None:
    """No row is dead, and none is without an example above."""
    reached = {
        find(case.status, read_reason(reply(case)), load_profile().refusals) for case in CASES
    }
    assert reached == {*TABLE, UNLISTED}


def reply(case: Case) -> Reply:
    return Reply(case.status, {}, content(case.body))


def examples(error: type[errors.VisionqError]) -> Iterator[Case]:
    return (case for case in CASES if case.error is error)


def test_the_message_says_what_the_provider_said() -> None:
    """People see the provider's own words, from whichever shape they came in."""
    said = "No money"
    for body in ({"detail": said}, openai_error("payment", said), {"error": said}):
        assert said in raised(Case("", 402, body, errors.InsufficientBalance)).message


def test_a_list_of_fields_is_told_by_name() -> None:
    """A list of validation errors names the field and what is wrong with it."""
    error = raised(Case("", 422, detail(FIELDS), errors.RequestRejected))
    assert error.message == "body.model: Field required"


def test_a_page_is_told_by_its_title() -> None:
    """An HTML page shows as its title, not as markup."""
    error = raised(Case("", 502, HTML, errors.BillingUnknown))
    assert "502 Bad Gateway" in error.message
    assert "<" not in error.message


def test_no_secret_leaves_in_a_message() -> None:
    """Neither picture bytes nor a key nor a long text reach the public message."""
    pictures = f"data:image/gif;base64,R0lGODlh, data:image/png;base64,{'QUJD' * 500}="
    secret = f"bad {pictures} for sk-abcdef123456 {'x ' * 500}"
    message = raised(Case("", 400, openai_error("invalid_value", secret), errors.JobError)).message
    assert "QUJD" not in message
    assert "R0lG" not in message
    assert "abcdef" not in message
    assert len(message) <= 300


def test_the_only_picture_is_named() -> None:
    """A refused picture is named where there is only one."""
    case = Case("", 400, openai_error("invalid_image"), errors.CorruptImage)
    assert raised(case, "cat.jpg").image == "cat.jpg"


@pytest.mark.parametrize(
    "param", ["input[0].content[2].image_url", "messages[1].content[2].image_url.url"]
)
def test_a_picture_among_several_is_named_by_its_place(param: str) -> None:
    """The place in the request names the picture; the prompt is before the first."""
    body = openai_error("invalid_image")
    body["error"]["param"] = param
    case = Case("", 400, body, errors.CorruptImage)
    assert raised(case, "cat.jpg", "dog.jpg").image == "dog.jpg"


def test_no_picture_is_blamed_without_evidence() -> None:
    """If the error does not say which picture it means, none is named."""
    case = Case("", 400, openai_error("invalid_image"), errors.CorruptImage)
    assert raised(case, "cat.jpg", "dog.jpg").image is None
    assert (
        raised(Case("", 400, openai_error("invalid_type"), errors.JobError), "a.jpg").image is None
    )


def test_the_wait_asked_for_comes_along() -> None:
    """`Retry-After` reaches the decision, also where billing is unknown."""
    limited = next(examples(errors.RateLimited))
    assert raised(limited, headers={"Retry-After": "7"}).retry_after == 7
    gateway = next(examples(errors.BillingUnknown))
    assert raised(gateway, headers={"retry-after-ms": "1500"}).retry_after == 1.5
    assert raised(limited).retry_after is None


def test_a_retry_that_the_provider_asks_for_is_free_and_bounded() -> None:
    """`x-should-retry: true` turns a rejected request into a transient fault."""
    case = next(examples(errors.RequestRejected))
    error = raised(case, headers={"x-should-retry": "true"})
    assert type(error) is errors.ProviderUnavailable
    picture = Case("", 200, failed("image_parse_error"), errors.CorruptImage)
    assert type(raised(picture, headers={"x-should-retry": "true"})) is errors.CorruptImage
    unknown = Case("", 502, HTML, errors.BillingUnknown)
    assert type(raised(unknown, headers={"x-should-retry": "true"})) is errors.BillingUnknown


def test_a_discouraged_retry_waits_long_and_fails_nothing() -> None:
    """`x-should-retry: false` slows an outage down instead of burning its jobs."""
    case = next(examples(errors.ProviderUnavailable))
    error = raised(case, headers={"x-should-retry": "false", "Retry-After": "2"})
    assert type(error) is errors.ProviderUnavailable
    assert error.retry_after == 60


def test_the_request_id_comes_along() -> None:
    """The id that support asks for is on the error."""
    case = next(examples(errors.RequestRejected))
    assert raised(case, headers={"x-request-id": "req-1"}).request_id == "req-1"


def test_a_failed_response_keeps_its_count_and_its_text() -> None:
    """Tokens counted and text written before a failure are on the error."""
    body = failed("server_error", TOKENS)
    body["output"] = [{"type": "message", "content": [{"type": "output_text", "text": "Половина"}]}]
    error = raised(Case("", 200, body, errors.Incomplete))
    assert error.usage == Usage(input_tokens=100, output_tokens=7)
    assert error.text == "Половина"
