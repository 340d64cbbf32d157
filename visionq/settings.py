"""Configuration from the environment: `VISIONQ_…` and `PROXYAPI_…`.

Read by `load_settings()`, never at import.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from visionq.contract.base import ModelName
from visionq.contract.job import Effort, PromptCache
from visionq.contract.limits import ALL_MODELS, MODEL_NAME, Limits
from visionq.errors import ConfigurationError
from visionq.input_errors import describe
from visionq.providers import load_profile
from visionq.setting_types import (
    A_DAY,
    TEN_YEARS,
    AddressRange,
    ApiKey,
    BlobUrl,
    BrokerUrl,
    HeaderName,
    HeaderValue,
    Host,
    HttpUrl,
    RedisUrl,
    SecretHttpUrl,
    SigningSecret,
    TimeZone,
    UserAgent,
    check_bound,
)

__all__ = ["ConfigurationError", "Settings", "load_settings", "variable_of"]


def _proxyapi(name: str) -> AliasChoices:
    return AliasChoices(f"PROXYAPI_{name}")


class Settings(BaseSettings):
    """What the operator decides. Every field is one variable of the environment."""

    model_config = SettingsConfigDict(
        env_prefix="VISIONQ_",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    #: Key of ProxyAPI. Without it nothing is ever sent to the internet.
    api_key: ApiKey | None = Field(default=None, validation_alias=_proxyapi("API_KEY"))
    #: Who sells the models: `proxyapi`, `aitunnel`, `polza`, `vsegpt`, or the path of a .toml file
    #: with a row of your own.
    provider: str = "proxyapi"
    #: Address of the OpenAI-compatible API; of another provider its own, unless set here.
    base_url: HttpUrl = Field(
        default="https://api.proxyapi.ru/openai/v1", validation_alias=_proxyapi("BASE_URL")
    )

    #: Redis of the ledger: `redis://`, `rediss://` or `unix://`.
    redis_url: RedisUrl | None = None
    #: Broker of the hints, when it is not the ledger's Redis.
    broker_url: BrokerUrl | None = None

    #: Take jobs from Celery's default queue (`celery`) too; off where other programs may use it.
    consume_default_queue: bool = False

    #: Model of jobs that name none.
    default_model: ModelName = "gpt-6-luna"
    #: Longest answer of jobs that set no limit, in tokens.
    default_max_output_tokens: int = Field(default=2048, ge=16, le=1_000_000)
    #: Effort of jobs that name none: `least` that the model takes, `provider` for its own default,
    #: or one by its name (`low`), where the model takes it.
    default_effort: Effort = "least"
    #: Prompts that the provider is to keep, of jobs that do not say: `off`, `instructions` or
    #: `implicit`; unset: the instructions of bulk jobs, where they are long enough.
    prompt_cache: PromptCache | None = None
    #: Replaces the price table of the provider, or the built-in one.
    prices_file: Path | None = None
    #: Replaces the built-in table of which options of a request each model takes.
    options_file: Path | None = None

    #: Seconds that results, and all else of a finished job, are kept.
    result_ttl: int = Field(default=7 * 24 * 3600, ge=60, le=TEN_YEARS)
    #: Seconds that an answer may be reused.
    answer_ttl: int = Field(default=7 * 24 * 3600, ge=0, le=TEN_YEARS)
    #: Let tenants have each other's stored answers: the same question is then asked once for all.
    share_answers: bool = False
    #: Seconds that an uploaded blob waits for its job, or for a replay.
    blob_grace: int = Field(default=3600, ge=60, le=TEN_YEARS)
    #: Most bytes of pictures in Redis; unset: 70 % of its `maxmemory`, or all there is without one.
    blob_limit: int | None = Field(default=None, ge=1)
    #: Most bytes of pictures in Redis of one tenant; unset: three for each that stays free.
    tenant_blob_limit: int | None = Field(default=None, ge=1)
    #: Most parked jobs of one tenant; with more it may submit none until some have ended.
    tenant_parked_limit: int = Field(default=100_000, ge=1)
    #: Most models for which jobs of one tenant stand in line.
    tenant_models_limit: int = Field(default=64, ge=1)
    #: Where pictures stand: `file:///directory`, `s3://bucket/prefix`, …; unset: in Redis.
    blob_url: BlobUrl | None = None
    #: Finished jobs that are listed; the older ones go first.
    finished_kept: int = Field(default=100_000, ge=0)
    #: Events that are kept; the older ones go first.
    events_kept: int = Field(default=10_000, ge=0)

    #: Seconds that failed jobs are kept, to be looked at and replayed.
    failed_ttl: int = Field(default=14 * 24 * 3600, ge=60, le=TEN_YEARS)
    #: Messages that no worker can work on: how many are kept, for as long as results.
    dead_letters_kept: int = Field(default=1000, ge=1)
    #: Most bytes of them; one of more than half as many is kept without its end.
    dead_letters_bytes: int = Field(default=96_000_000, ge=10_000)

    #: Port on which a worker tells how it is (`GET /health`); unset: none.
    health_port: int | None = Field(default=None, ge=1, le=65535)
    #: Address of that port.
    health_host: str = "127.0.0.1"

    #: Fetch pictures from any address and port: for tests and closed networks.
    allow_private_urls: bool = False
    #: Hosts that pictures may come from, separated by commas; empty: any public host.
    allowed_hosts: Annotated[tuple[Host, ...], NoDecode] = ()
    #: Hosts that pictures may not come from, whatever else is allowed.
    denied_hosts: Annotated[tuple[Host, ...], NoDecode] = ()
    #: Ranges of addresses that pictures and webhooks may use although they are not public, by
    #: commas: `198.18.0.0/15` for the DNS of a VPN that makes addresses up.
    trusted_ranges: Annotated[tuple[AddressRange, ...], NoDecode] = ()
    #: What downloads and webhooks say they come from; some hosts want a contact in it.
    user_agent: UserAgent = "visionq"
    #: Headers that a host is sent, and no other, as JSON: `{"cdn.example.org": {"X-Token": "…"}}`;
    #: `*.example.org` stands for all hosts below.
    host_headers: Annotated[dict[Host, dict[HeaderName, HeaderValue]] | None, NoDecode] = None
    #: Downloads from one host at a time, in a worker process.
    max_connections_per_host: int = Field(default=8, ge=1)

    #: What models may be asked, as JSON: `{"gpt-6-luna": {"requests_per_minute": 500}, "*": …}`.
    limits: Annotated[dict[str, Limits] | None, NoDecode] = None
    #: Attempts of a job at faults that cost nothing.
    max_attempts: int = Field(default=10, ge=1)
    #: Seconds to reach the provider.
    connect_timeout: float = Field(default=5, gt=0, le=A_DAY)
    #: Seconds from the sent request to the first byte of its answer; unset: as for the whole.
    first_byte_timeout: float | None = Field(default=None, gt=0, le=A_DAY)
    #: Seconds for its whole answer.
    request_timeout: float = Field(default=120, gt=0, le=A_DAY)

    #: Seconds for which a claim holds without renewal.
    lease: float = Field(default=10, ge=5, le=A_DAY)
    #: Largest picture file taken, in bytes.
    max_image_bytes: int = Field(default=20_000_000, ge=1)
    #: Largest picture decoded, in pixels.
    max_image_pixels: int = Field(default=100_000_000, ge=1)
    #: Largest original of jobs that ask to shrink it first, in bytes.
    max_original_bytes: int = Field(default=64_000_000, ge=1)
    #: Most memory for the pixels of one picture, in bytes; a worker decodes one at a time.
    max_decode_bytes: int = Field(default=256_000_000, ge=1_000_000)
    #: Most bytes of pictures and requests that a worker process holds at once; more wait.
    max_held_bytes: int = Field(default=96_000_000, ge=1_000_000)
    #: Largest request sent, in bytes of its pictures in base64.
    max_request_bytes: int = Field(default=48_000_000, ge=1_000)
    #: Replaces the built-in table of what models see.
    vision_file: Path | None = None
    #: Local detectors to use (entry points of `visionq.detectors`), such as `ocr`.
    detectors: Annotated[tuple[str, ...], NoDecode] = ()

    #: Gets one signed POST when the gate closes or opens, the balance runs low or workers vanish.
    alert_url: SecretHttpUrl | None = None
    #: Base64 secret by which alerts are signed, as Standard Webhooks are.
    alert_secret: SigningSecret | None = None
    #: Where a day of spending begins and ends.
    time_zone: TimeZone = "Europe/Moscow"
    #: Rubles below which the balance is low.
    low_balance_rub: Decimal = Field(default=Decimal(100), ge=0)

    #: Where workers send traces (OTLP over HTTP), such as `http://collector:4318/v1/traces`.
    traces_url: SecretHttpUrl | None = None
    #: Where workers report unforeseen errors (Sentry); never what a job is about.
    sentry_dsn: SecretHttpUrl | None = None

    #: Form of the logs: `console` or `json`.
    log_format: str = Field(default="console", pattern="^(console|json)$")
    #: Least level that is logged: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    _bound = field_validator("*")(check_bound)

    @field_validator("provider")
    @classmethod
    def _has_profile(cls, name: str) -> str:
        try:
            load_profile(name)
        except ConfigurationError as error:
            raise ValueError(error.message) from None
        return name

    @model_validator(mode="after")
    def _take_from_profile(self) -> Self:
        """Take what is not set otherwise from the provider's profile."""
        profile = load_profile(self.provider)
        of_profile = {"base_url": profile.base_url, "prices_file": profile.prices}
        for name in of_profile.keys() - self.model_fields_set:
            object.__setattr__(self, name, of_profile[name])  # the model is frozen for others
        return self

    @field_validator("allowed_hosts", "denied_hosts", "trusted_ranges", "detectors", mode="before")
    @classmethod
    def _split(cls, hosts: object) -> object:
        if not isinstance(hosts, str):
            return hosts
        return tuple(host.strip() for host in hosts.split(",") if host.strip())

    @field_validator("host_headers", "limits", mode="before")
    @classmethod
    def _parse_json(cls, text: object) -> object:
        if not isinstance(text, str):
            return text
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError("not JSON") from None  # the text itself may hold a token

    @field_validator("limits")
    @classmethod
    def _name_models(cls, limits: dict[str, Limits] | None) -> dict[str, Limits] | None:
        for model in (limits or {}).keys() - {ALL_MODELS}:
            try:
                MODEL_NAME.validate_python(model)
            except ValidationError:
                raise ValueError(f"{model!r} is no name of a model") from None
        return limits


def load_settings() -> Settings:
    """Read the environment; a wrong value raises `ConfigurationError` naming the variable."""
    try:
        return Settings()
    except ValidationError as error:
        field, _, fault = describe(error).partition(": ")
        raise ConfigurationError(f"{_variable(field)}: {fault}") from None


def _variable(field: str) -> str:
    """Return the variable that sets a field; one with an alias is known by its variable."""
    name, _, inside = field.partition(".")
    variable = f"VISIONQ_{name.upper()}" if name in Settings.model_fields else name
    # Of other variables what is wrong inside may be a secret's name.
    return f"{variable}: {inside}" if name == "limits" and inside else variable


def variable_of(field: str) -> str:
    """Return the variable of the environment from which a field of the settings is read."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"VISIONQ_{field.upper()}"
