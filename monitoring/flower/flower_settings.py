"""What the operator decides about Flower: `VISIONQ_FLOWER_…`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

#: What Flower is called among Redis's clients, and in the events that it sends.
CLIENT_NAME: Final = "visionq-flower"
#: A colon would end the name in HTTP's basic authentication.
_USER: Final = r"^[!-9;-~]+$"


def _ascii(password: SecretStr) -> SecretStr:
    # Flower (2.2) fails to compare other alphabets.
    if not password.get_secret_value().isascii():
        raise ValueError("only ASCII characters")
    return password


def _path(prefix: object) -> object:
    return f"/{prefix.strip('/')}".rstrip("/") if isinstance(prefix, str) else prefix


Password = Annotated[SecretStr, AfterValidator(_ascii)]


class FlowerSettings(BaseSettings):
    """Every field is one variable of the environment; none is read before this is called."""

    model_config = SettingsConfigDict(
        env_prefix="VISIONQ_FLOWER_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    #: The operator, who may revoke tasks and stop workers.
    user: str = Field(default="visionq", pattern=_USER)
    #: Without one `visionq flower` makes one up and shows it once.
    password: Password | None = None
    #: Somebody who may look and touch nothing.
    guest_user: str = Field(default="guest", pattern=_USER)
    #: Without one there are no guests.
    guest_password: Password | None = None
    #: Loopback, because `/metrics` and `/healthcheck` ask nobody for a password.
    address: str = "127.0.0.1"
    #: Its port.
    port: int = Field(default=5555, ge=1, le=65535)
    #: Path below which a reverse proxy shows it, such as `/flower`.
    url_prefix: Annotated[str, BeforeValidator(_path), Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = (
        ""
    )
    #: File that keeps what was seen through a restart.
    database: Path | None = None

    @model_validator(mode="after")
    def _are_two_users(self) -> Self:
        if self.user == self.guest_user:
            raise ValueError("the operator and the guest need different names")
        return self

    @property
    def login(self) -> str | None:
        """The operator's `user:password`."""
        return _login(self.user, self.password)

    @property
    def guest_login(self) -> str | None:
        """The guest's `user:password`, or None where there are no guests."""
        return _login(self.guest_user, self.guest_password)


def _login(user: str, password: SecretStr | None) -> str | None:
    return None if password is None else f"{user}:{password.get_secret_value()}"
