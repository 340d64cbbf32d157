"""What the operator decides about Flower: `VISIONQ_FLOWER_…`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _plain(password: SecretStr) -> SecretStr:
    if not password.get_secret_value().isascii():
        raise ValueError("only ASCII characters")
    return password


class FlowerSettings(BaseSettings):
    """Every field is one variable of the environment; none is read before this is called."""

    model_config = SettingsConfigDict(
        env_prefix="VISIONQ_FLOWER_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    #: A colon would end the name in HTTP's basic authentication. Flower (2.2) fails to compare
    #: other alphabets.
    user: str = Field(default="visionq", pattern=r"^[!-9;-~]+$")
    #: Without one `visionq flower` makes one up and shows it once.
    password: Annotated[SecretStr, AfterValidator(_plain)] | None = None
    #: Loopback, because `/metrics` and `/healthcheck` ask nobody for a password.
    address: str = "127.0.0.1"
    port: int = Field(default=5555, ge=1, le=65535)
    #: Path below which a reverse proxy shows it.
    url_prefix: str = ""
    #: File that keeps what was seen through a restart.
    database: Path | None = None
