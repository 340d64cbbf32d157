"""Settings: how they are read, and their types; no message repeats a value."""

from __future__ import annotations

import base64
import binascii
import re
from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from visionq.redis_url import SCHEMES, parse_redis_url

_BROKERS: Final = ("amqp", "amqps", "pyamqp")
_HOST: Final = re.compile(r"(\*?\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,30}\.?")
_ADDRESS: Final = re.compile(r"\[?[0-9a-f:.]{2,45}\]?")
#: Seconds; what is kept longer has dates that not every clock can hold.
TEN_YEARS: Final = 10 * 365 * 24 * 3600
A_DAY: Final = 24 * 3600
#: Of anything counted: bytes, jobs, rubles.
MOST: Final = 2**40


class Fixed(BaseModel):
    """Fields of settings that no variable sets: constants, and options of a command."""


class Variables(BaseSettings):
    """Settings of which every field is a variable of the environment, but those of `Fixed`."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, _Environment(settings_cls)

    @classmethod
    def variable_fields(cls) -> list[str]:
        """Return the names of the fields that the environment sets."""
        return [name for name in cls.model_fields if name not in fixed_fields(cls)]


def fixed_fields(settings: type[BaseSettings]) -> set[str]:
    """Return the names of the fields that no variable sets."""
    return {
        name
        for base in settings.__mro__
        if issubclass(base, Fixed) and not issubclass(base, BaseSettings)
        for name in base.model_fields
    }


class _Environment(EnvSettingsSource):
    def __call__(self) -> dict[str, Any]:
        fixed = fixed_fields(self.settings_cls)
        return {name: value for name, value in super().__call__().items() if name not in fixed}


def check_bound(value: Any) -> Any:  # noqa: ANN401  # a setting of any kind
    """Return a setting unless it is a number beyond any real count."""
    if isinstance(value, (int, float, Decimal)) and not -MOST <= value <= MOST:
        raise ValueError(f"at most {MOST:,}")
    return value


def check_http_url(text: str) -> str:
    """Return an address of HTTP; raises ValueError otherwise."""
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_address = None
    if not is_address or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("it must be an address that begins with https:// or http://")
    return text


def _in_one_spelling(secret: SecretStr) -> SecretStr:
    return SecretStr(parse_redis_url(secret.get_secret_value()))


def _broker(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    scheme = url.partition(":")[0]
    if scheme in SCHEMES:
        return _in_one_spelling(secret)
    try:
        parts = urlsplit(url)
        is_address = scheme in _BROKERS and parts.hostname and parts.port != 0
    except ValueError:
        is_address = None
    if not is_address:
        raise ValueError("it must begin with redis://, rediss://, unix://, amqp:// or amqps://")
    return secret


def _secret_http_url(secret: SecretStr) -> SecretStr:
    check_http_url(secret.get_secret_value())
    return secret


def _key(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()  # read from a file, it may have its line end
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("only visible ASCII characters: was a blank or another letter copied too?")
    return SecretStr(text)


def _header_value(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise ValueError("a header holds visible ASCII characters and blanks only")
    return secret


def _signing_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().removeprefix("whsec_")
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        raise ValueError("it must be base64, as `openssl rand -base64 32` prints it")
    return secret


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(
            "no such time zone; names are those of IANA, as Europe/Moscow (UTC+3 is Etc/GMT-3)"
        ) from None
    return name


def _host(name: str) -> str:
    host = name.lower()
    if not _HOST.fullmatch(host) and not _ADDRESS.fullmatch(host):
        raise ValueError("hosts are given by name, as cdn.example.org or .example.org")
    return host


def _address_range(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError(
            "ranges are given by their first address, as 198.18.0.0/15 or fd00:64::/96"
        ) from None


def _user_agent(text: str) -> str:
    if not text.strip() or not text.isascii() or not text.isprintable():
        raise ValueError("visible ASCII characters and blanks, such as `shop (mail@example.org)`")
    return text.strip()


def _blob_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            raise ValueError("a directory is given as file:///absolute/path")
    elif parts.scheme not in {"s3", "gs", "az"} or not parts.netloc:
        raise ValueError(
            "it must begin with file:///, s3://, gs:// or az://; unset it to keep pictures in Redis"
        )
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_in_one_spelling)]
BrokerUrl = Annotated[SecretStr, AfterValidator(_broker)]
HttpUrl = Annotated[str, AfterValidator(check_http_url)]
SecretHttpUrl = Annotated[SecretStr, AfterValidator(_secret_http_url)]
BlobUrl = Annotated[str, AfterValidator(_blob_url)]
ApiKey = Annotated[SecretStr, AfterValidator(_key)]
SigningSecret = Annotated[SecretStr, AfterValidator(_signing_secret)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Host = Annotated[str, AfterValidator(_host)]
AddressRange = Annotated[str, AfterValidator(_address_range)]
UserAgent = Annotated[str, Field(max_length=200), AfterValidator(_user_agent)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$")]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]
