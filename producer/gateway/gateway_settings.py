"""Settings of the gateway: `VISIONQ_GATEWAY_…`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from visionq.input_errors import describe
from visionq.setting_types import A_DAY, TEN_YEARS, ApiKey, Fixed, Variables, check_bound
from visionq.settings import ConfigurationError
from visionq.user_files import user_directory


class GatewayConstants(Fixed):
    """Constants, and options of `visionq gateway` that no variable sets."""

    #: Loopback; beyond it the gateway listens only with keys, and needs a proxy with TLS before it.
    address: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    #: Directory of uploaded files and batch results, which all gateways share.
    files_dir: Path | None = None
    #: Largest body of a request that holds no file: the largest job in base64.
    max_body_bytes: int = Field(default=64_000_000, ge=1_000)
    #: Bytes of an uploaded file, and lines of a batch's input: as OpenAI takes them (2026-11).
    max_file_bytes: int = Field(default=200_000_000, ge=1_000)
    max_batch_lines: int = Field(default=50_000, ge=1)
    #: Seconds between signs of life on a stream: proxies drop silent ones after 30 to 60.
    keep_alive: float = Field(default=15, ge=0.01, le=3600)
    #: Let calls wait also while their job is parked; each call can say it by a header.
    wait_when_parked: bool = False
    #: Seconds that files, and batches that are done, are kept: as long as OpenAI keeps them.
    file_ttl: int = Field(default=30 * 24 * 3600, ge=60, le=TEN_YEARS)


class GatewaySettings(GatewayConstants, Variables):
    """Every field but the constants is a variable of the environment."""

    model_config = SettingsConfigDict(
        env_prefix="VISIONQ_GATEWAY_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    #: A key of the tenant `default` with every scope, in addition to those of `visionq keys`.
    key: ApiKey | None = Field(default=None, min_length=16)
    #: Most requests of a tenant in a minute.
    requests_per_minute: int = Field(default=6_000, ge=1)
    #: Most unfinished jobs of a tenant, including parked ones; more are refused.
    max_waiting_jobs: int = Field(default=100_000, ge=1)
    #: Most seconds that a call waits for its answer.
    longest_wait: float = Field(default=300, gt=0, le=A_DAY)

    _bound = field_validator("*")(check_bound)

    @property
    def files(self) -> Path:
        """The directory of files, by default in the user's data directory."""
        return self.files_dir or user_directory("DATA", ".local/share", os.environ) / "files"


def load_gateway_settings(**options: Any) -> GatewaySettings:  # noqa: ANN401  # of several types
    """Read the environment, and take options of the command that are not None.

    Raises:
        ConfigurationError: a value is wrong; the message begins with the variable.
    """
    try:
        return GatewaySettings(
            **{name: value for name, value in options.items() if value is not None}
        )
    except ValidationError as error:
        field, _, fault = describe(error).partition(": ")
        raise ConfigurationError(f"VISIONQ_GATEWAY_{field.upper()}: {fault}") from None
