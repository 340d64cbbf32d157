"""Configuration from the environment: `VISIONQ_…` and `PROXYAPI_…`.

Read by `load_settings()`, never at import.
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

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
    Fixed,
    HeaderName,
    HeaderValue,
    Host,
    HttpUrl,
    RedisUrl,
    SecretHttpUrl,
    SigningSecret,
    TimeZone,
    UserAgent,
    Variables,
    check_bound,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConfigurationError", "Settings", "load_settings", "variable_of"]


_UNSET: Final = "unset it:"
#: Variable that is gone → what replaces it, or why nothing does.
REMOVED: Final[Mapping[str, str]] = {
    "VISIONQ_CONNECT_TIMEOUT": f"{_UNSET} the provider is reached within 5 seconds or tried again",
    "VISIONQ_FIRST_BYTE_TIMEOUT": "set VISIONQ_REQUEST_TIMEOUT, which bounds the whole call",
    "VISIONQ_MAX_ATTEMPTS": f"{_UNSET} a job is tried 10 times; an outage closes the gate",
    "VISIONQ_FAILED_TTL": "set VISIONQ_RESULT_TTL: failed jobs are kept twice as long as results",
    "VISIONQ_BLOB_LIMIT": "set Redis's maxmemory: pictures may take 70 % of it",
    "VISIONQ_TENANT_BLOB_LIMIT": f"{_UNSET} a tenant may take three bytes for each that stays free",
    "VISIONQ_TENANT_PARKED_LIMIT": f"{_UNSET} a tenant may have 100,000 parked jobs",
    "VISIONQ_TENANT_MODELS_LIMIT": f"{_UNSET} a tenant may have jobs in line for 64 models",
    "VISIONQ_FINISHED_KEPT": f"{_UNSET} 100,000 ended jobs stay listed",
    "VISIONQ_EVENTS_KEPT": f"{_UNSET} 10,000 events are kept",
    "VISIONQ_DEAD_LETTERS_KEPT": f"{_UNSET} 1,000 messages are kept",
    "VISIONQ_DEAD_LETTERS_BYTES": f"{_UNSET} 96 MB of messages are kept",
    "VISIONQ_HEALTH_HOST": "run `visionq health`, as Compose and Kubernetes do",
    "VISIONQ_HEALTH_PORT": "run `visionq health`, as Compose and Kubernetes do",
    "VISIONQ_MAX_CONNECTIONS_PER_HOST": f"{_UNSET} a worker process downloads 8 pictures of a host",
    "VISIONQ_MAX_IMAGE_PIXELS": f"{_UNSET} 100 million pixels are what a worker's memory holds",
    "VISIONQ_MAX_ORIGINAL_BYTES": f"{_UNSET} 64 MB are taken, or VISIONQ_MAX_IMAGE_BYTES if more",
    "VISIONQ_MAX_DECODE_BYTES": f"{_UNSET} a worker process takes 256 MB for pixels",
    "VISIONQ_MAX_HELD_BYTES": f"{_UNSET} a worker process holds 96 MB; start more for more",
    "VISIONQ_MAX_REQUEST_BYTES": f"{_UNSET} a request holds 48 MB, as providers take it",
    "VISIONQ_FLOWER_USER": f"{_UNSET} the operator is `visionq`",
    "VISIONQ_FLOWER_GUEST_USER": f"{_UNSET} the guest is `guest`",
    "VISIONQ_FLOWER_ADDRESS": "start `visionq flower --address`",
    "VISIONQ_FLOWER_PORT": "start `visionq flower --port`; of Compose it is FLOWER_PORT",
    "VISIONQ_FLOWER_DATABASE": "start `visionq flower --database`",
    "VISIONQ_GATEWAY_ADDRESS": "start `visionq gateway --address`",
    "VISIONQ_GATEWAY_PORT": "start `visionq gateway --port`; of Compose it is GATEWAY_PORT",
    "VISIONQ_GATEWAY_FILES_DIR": "start `visionq gateway --files-dir`",
    "VISIONQ_GATEWAY_MAX_BODY_BYTES": f"{_UNSET} a request holds 64 MB",
    "VISIONQ_GATEWAY_MAX_FILE_BYTES": f"{_UNSET} a file holds 200 MB, as OpenAI takes it",
    "VISIONQ_GATEWAY_MAX_BATCH_LINES": f"{_UNSET} a batch has 50,000 lines, as OpenAI takes it",
    "VISIONQ_GATEWAY_KEEP_ALIVE": f"{_UNSET} a stream shows a sign of life each 15 seconds",
    "VISIONQ_GATEWAY_WAIT_WHEN_PARKED": "send the header `X-Visionq-When-Parked: wait`",
    "VISIONQ_GATEWAY_FILE_TTL": f"{_UNSET} files and batches are kept 30 days",
}


def _proxyapi(name: str) -> AliasChoices:
    return AliasChoices(f"PROXYAPI_{name}")


class ProviderSettings(BaseModel):
    """The provider, and what it may be asked."""

    #: Key of ProxyAPI. Without it nothing is ever sent to the internet.
    api_key: ApiKey | None = Field(default=None, validation_alias=_proxyapi("API_KEY"))
    #: Who sells the models: `proxyapi`, `aitunnel`, `polza`, `vsegpt`, or the path of a .toml file
    #: with your own row.
    provider: str = "proxyapi"
    #: Address of the OpenAI-compatible API; another provider has its own default.
    base_url: HttpUrl = Field(
        default="https://api.proxyapi.ru/openai/v1", validation_alias=_proxyapi("BASE_URL")
    )
    #: Timeout of a whole call, in seconds.
    request_timeout: float = Field(default=120, gt=0, le=A_DAY)
    #: Rate limits of models, as JSON: `{"gpt-6-luna": {"requests_per_minute": 500}, "*": …}`.
    limits: Annotated[dict[str, Limits] | None, NoDecode] = None
    #: Price table that replaces the provider's, or the built-in one.
    prices_file: Path | None = None
    #: Table of the request options that each model takes; replaces the built-in one.
    options_file: Path | None = None
    #: Table of what models see; replaces the built-in one.
    vision_file: Path | None = None
    #: Table of batch limits; replaces the built-in one.
    batches_file: Path | None = None


class RedisSettings(BaseModel):
    """The ledger's Redis and the broker."""

    #: Redis of the ledger: `redis://`, `rediss://` or `unix://`.
    redis_url: RedisUrl | None = None
    #: Broker of Celery's messages, if it is not the ledger's Redis.
    broker_url: BrokerUrl | None = None
    #: Also take jobs from Celery's default queue (`celery`); leave it off if other programs use it.
    consume_default_queue: bool = False


class JobSettings(BaseModel):
    """Defaults of jobs."""

    #: Model of jobs that name none.
    default_model: ModelName = "gpt-6-luna"
    #: Longest answer, in tokens, of jobs without a limit.
    default_max_output_tokens: int = Field(default=2048, ge=16, le=1_000_000)
    #: Effort of jobs that name none: `least` that the model takes, `provider` for the provider's
    #: default, or a name such as `low`.
    default_effort: Effort = "least"
    #: What the provider caches of prompts, unless a job says otherwise: `off`, `instructions` or
    #: `implicit`; unset: long instructions of bulk jobs.
    prompt_cache: PromptCache | None = None


class RetentionSettings(BaseModel):
    """Where things are kept, and for how long."""

    #: Seconds to keep results and all other data of finished jobs.
    result_ttl: int = Field(default=7 * 24 * 3600, ge=60, le=TEN_YEARS)
    #: Seconds for which an answer may be reused.
    answer_ttl: int = Field(default=7 * 24 * 3600, ge=0, le=TEN_YEARS)
    #: Share cached answers between tenants, so that a question is asked once for all.
    share_answers: bool = False
    #: Where to keep pictures: `file:///directory`, `s3://bucket/prefix`, …; unset: in Redis.
    blob_url: BlobUrl | None = None
    #: Seconds to keep an uploaded picture for its job or a replay.
    blob_grace: int = Field(default=3600, ge=60, le=TEN_YEARS)


class PictureSettings(BaseModel):
    """Which pictures are taken, and from where."""

    #: Largest accepted picture file, in bytes.
    max_image_bytes: int = Field(default=20_000_000, ge=1)
    #: Local detectors to use (entry points of `visionq.detectors`), such as `ocr`.
    detectors: Annotated[tuple[str, ...], NoDecode] = ()
    #: Fetch pictures from any address, private ones too; for tests and closed networks.
    allow_private_urls: bool = False
    #: Fetch pictures only from these hosts, separated by commas; empty: any public host.
    allowed_hosts: Annotated[tuple[Host, ...], NoDecode] = ()
    #: Never fetch pictures from these hosts, even if allowed above.
    denied_hosts: Annotated[tuple[Host, ...], NoDecode] = ()
    #: Address ranges to allow for pictures and webhooks although they are not public, separated by
    #: commas, such as `198.18.0.0/15` for the DNS of a VPN.
    trusted_ranges: Annotated[tuple[AddressRange, ...], NoDecode] = ()
    #: `User-Agent` of downloads and webhooks; some hosts require a contact in it.
    user_agent: UserAgent = "visionq"
    #: Headers to send to one host only, as JSON: `{"cdn.example.org": {"X-Token": "…"}}`;
    #: `*.example.org` means all hosts below.
    host_headers: Annotated[dict[Host, dict[HeaderName, HeaderValue]] | None, NoDecode] = None


class OperationSettings(BaseModel):
    """Observing and controlling workers."""

    #: Seconds until a claim expires unless it is renewed.
    lease: float = Field(default=10, ge=5, le=A_DAY)
    #: Address that gets a POST when the gate closes or opens, the balance runs low, or workers
    #: vanish.
    alert_url: SecretHttpUrl | None = None
    #: Base64 secret that signs alerts, as in Standard Webhooks.
    alert_secret: SigningSecret | None = None
    #: Time zone in which days and months of spending begin.
    time_zone: TimeZone = "Europe/Moscow"
    #: Balance in rubles below which an alert is sent.
    low_balance_rub: Decimal = Field(default=Decimal(100), ge=0)
    #: Where workers send traces (OTLP over HTTP), such as `http://collector:4318/v1/traces`.
    traces_url: SecretHttpUrl | None = None
    #: Where workers report unexpected errors (Sentry), without the content of jobs.
    sentry_dsn: SecretHttpUrl | None = None
    #: Format of the logs: `console` or `json`.
    log_format: str = Field(default="console", pattern="^(console|json)$")
    #: Lowest level to log: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


class Constants(Fixed):
    """Values that no operator needed to set. Code and tests can; the environment can't."""

    #: Seconds to reach the provider: a handshake that takes longer is lost, and costs nothing.
    connect_timeout: float = Field(default=5, gt=0, le=A_DAY)
    #: Seconds from the sent request to the first byte of its answer; None: as for the whole, since
    #: a model that thinks is silent until it answers.
    first_byte_timeout: float | None = Field(default=None, gt=0, le=A_DAY)
    #: Seconds for moving the file of a batch, up or down: 200 MB at a megabit a second.
    batch_transfer_timeout: float = Field(default=1800, gt=0, le=A_DAY)
    #: Attempts of a job at faults that cost nothing: with backoff they outlast an outage of
    #: minutes; a longer one closes the gate.
    max_attempts: int = Field(default=10, ge=1)
    #: Seconds that failed jobs are kept for a replay: unless given, twice as long as results.
    failed_ttl: int = Field(default=14 * 24 * 3600, ge=60, le=TEN_YEARS)
    #: Most bytes of pictures in Redis; None: 70 % of its `maxmemory`, which leaves the ledger room.
    blob_limit: int | None = Field(default=None, ge=1)
    #: The same of one tenant; None: three for each that stays free, so that none fills Redis alone.
    tenant_blob_limit: int | None = Field(default=None, ge=1)
    #: Most parked jobs of one tenant: about 1 GB of Redis.
    tenant_parked_limit: int = Field(default=100_000, ge=1)
    #: Most models in line of one tenant: each is a lane that every dispatch looks at.
    tenant_models_limit: int = Field(default=64, ge=1)
    #: Finished jobs that stay listed: what a person can page through.
    finished_kept: int = Field(default=100_000, ge=0)
    #: Events that are kept: minutes of a busy fleet, enough for a reader that reconnects.
    events_kept: int = Field(default=10_000, ge=0)
    #: Messages that no worker can work on: how many are kept, as long as results; more are repeats.
    dead_letters_kept: int = Field(default=1000, ge=1)
    #: Most bytes of them: a tenth of a small Redis.
    dead_letters_bytes: int = Field(default=96_000_000, ge=10_000)
    #: Downloads from one host at a time, in a worker process: what browsers allow themselves.
    max_connections_per_host: int = Field(default=8, ge=1)
    #: Largest picture decoded, in pixels: what the memory for one picture holds.
    max_image_pixels: int = Field(default=100_000_000, ge=1)
    #: Largest original of jobs that ask to shrink it first: a raw scan; more would fill a worker.
    max_original_bytes: int = Field(default=64_000_000, ge=1)
    #: Most memory for the pixels of one picture; a worker decodes one at a time.
    max_decode_bytes: int = Field(default=256_000_000, ge=1_000_000)
    #: Most bytes of pictures and requests that a worker process holds at once: with the pixels
    #: above less than half a gigabyte.
    max_held_bytes: int = Field(default=96_000_000, ge=1_000_000)
    #: Largest request, in bytes of its pictures in base64: below the 50 MB that OpenAI takes.
    max_request_bytes: int = Field(default=48_000_000, ge=1_000)


class Settings(
    ProviderSettings,
    RedisSettings,
    JobSettings,
    RetentionSettings,
    PictureSettings,
    OperationSettings,
    Constants,
    Variables,
):
    """The operator's settings. Every field but the constants is an environment variable."""

    model_config = SettingsConfigDict(
        env_prefix="VISIONQ_",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

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
    def _derive(self) -> Self:
        """Take what is not set from the provider's profile, or from other settings."""
        profile = load_profile(self.provider)
        of_profile = {"base_url": profile.base_url, "prices_file": profile.prices}
        for name in of_profile.keys() - self.model_fields_set:
            object.__setattr__(self, name, of_profile[name])  # the model is frozen for others
        if "failed_ttl" not in self.model_fields_set:
            object.__setattr__(self, "failed_ttl", min(2 * self.result_ttl, TEN_YEARS))  # likewise
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
                raise ValueError(f"{model!r} is not the name of a model") from None
        return limits


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: a value is wrong, or a variable is gone; the message names it first.
    """
    for name, instead in REMOVED.items():
        if os.environ.get(name):
            raise ConfigurationError(f"{name}: is gone; {instead}")
    try:
        return Settings()
    except ValidationError as error:
        field, _, fault = describe(error).partition(": ")
        raise ConfigurationError(f"{_variable(field)}: {fault}") from None


def _variable(field: str) -> str:
    """Return the variable of a field that an error names."""
    name, _, inside = field.partition(".")
    variable = f"VISIONQ_{name.upper()}" if name in Settings.model_fields else name
    # Of other variables what is wrong inside may be a secret's name.
    return f"{variable}: {inside}" if name == "limits" and inside else variable


def variable_of(field: str) -> str:
    """Return the variable of the environment from which a field of the settings is read."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"VISIONQ_{field.upper()}"
