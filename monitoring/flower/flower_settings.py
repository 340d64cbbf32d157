"""Settings of Flower: `VISIONQ_FLOWER_…`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

#: What Flower is called among Redis's clients, and in the events that it sends.
CLIENT_NAME: Final = "visionq-flower"
#: The users; what they may do hangs on their passwords.
OPERATOR: Final = "visionq"
GUEST: Final = "guest"
#: Loopback, because `/metrics` and `/healthcheck` ask nobody for a password.
ADDRESS: Final = "127.0.0.1"
PORT: Final = 5555


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

    #: Password of the operator `visionq`, who may revoke tasks and stop workers; unset: `visionq
    #: flower` makes one and prints it once.
    password: Password | None = None
    #: Password of the read-only user `guest`; unset: no guests.
    guest_password: Password | None = None
    #: Path of Flower behind a reverse proxy, such as `/flower`.
    url_prefix: Annotated[str, BeforeValidator(_path), Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = (
        ""
    )

    @property
    def login(self) -> str | None:
        """The operator's `user:password`."""
        return _login(OPERATOR, self.password)

    @property
    def guest_login(self) -> str | None:
        """The guest's `user:password`, or None where there are no guests."""
        return _login(GUEST, self.guest_password)


def _login(user: str, password: SecretStr | None) -> str | None:
    return None if password is None else f"{user}:{password.get_secret_value()}"
