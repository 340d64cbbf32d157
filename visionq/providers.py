"""The sellers that workers can ask, and in what they differ: `visionq/data/providers.toml`."""

from __future__ import annotations

import functools
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from visionq.data import Dated, ExactNumber, Facts, load
from visionq.errors import ConfigurationError
from visionq.setting_types import HttpUrl

#: Statuses with which a seller may refuse a call for nothing; with any other it may have run.
_REFUSALS: Final = frozenset({200, 400, 401, 402, 403, 404, 413, 422, 429, 500, 503})
_FILE: Final = "providers.toml"


def _refusal(status: int) -> int:
    if status not in _REFUSALS:
        raise ValueError(f"must be of {', '.join(map(str, sorted(_REFUSALS)))}")
    return status


_Statuses = frozenset[Annotated[int, AfterValidator(_refusal)]]
#: `usage.cost_rub`: a field of a field of a JSON document.
_FieldPath = Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)*$", max_length=200)]
#: The vendor in a model's name: `google/`.
_Prefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}/$")]
_UrlPath = Annotated[str, StringConstraints(pattern=r"^/[a-zA-Z0-9_./~-]*$", max_length=200)]


def find_field(body: object, path: str) -> object:
    """Return a nested field of a JSON document; None if absent."""
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


class BalanceTerms(Facts):
    """Where a seller reports the balance, in rubles."""

    #: On the host of the API.
    path: _UrlPath
    field: _FieldPath


class CostTerms(Facts):
    """Where a response reports its cost."""

    field: _FieldPath
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    #: What a unit of another currency than the ruble costs.
    rubles: Annotated[ExactNumber, Field(gt=0, le=10_000)] | None = None

    @model_validator(mode="after")
    def _in_rubles(self) -> Self:
        if (self.currency == "RUB") is not (self.rubles is None):
            raise ValueError("`rubles` is what a unit costs of any currency but RUB")
        return self

    @property
    def rate(self) -> Decimal:
        """Rubles for a unit."""
        return self.rubles or Decimal(1)


class Refusals(Facts):
    """Statuses with which nothing is billed, by the form of the body: all else may have been."""

    error: _Statuses = frozenset()
    detail: _Statuses = frozenset()


class Route(Dated):
    """The route to the models of some vendors."""

    #: Of their names, the slash included.
    prefixes: Annotated[tuple[_Prefix, ...], Field(min_length=1)]
    #: In the place of the path that the address of the others ends in.
    path: _UrlPath


class BatchTerms(Dated):
    """The seller's Batch API."""

    #: APIs whose requests its lines may hold.
    apis: Annotated[tuple[Literal["responses", "chat_completions"], ...], Field(min_length=1)]
    #: Within which all lines are answered, or expire.
    window_hours: Annotated[int, Field(strict=True, ge=1, le=24 * 14)]


class FlexTerms(Dated):
    """The seller's cheaper tier of online calls, `service_tier: flex`."""

    #: After which a call counts as lost: flex is slow.
    longest_seconds: Annotated[int, Field(strict=True, ge=60, le=3600)]


class ProviderProfile(Dated):
    """In what one seller differs from others that speak OpenAI's form."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    base_url: HttpUrl
    authorization: Literal["Bearer", "Api-Key"]
    balance: BalanceTerms | None = None
    refusals: Refusals
    cost: CostTerms | None = None
    #: None: it has none, as far as is known.
    batches: BatchTerms | None = None
    #: None: likewise. What it costs is in the price table.
    flex: FlexTerms | None = None
    routes: Annotated[tuple[Route, ...], Field(alias="route")] = ()
    #: As the row has it: relative to the row's file.
    prices: Path | None = None
    #: Whether the row was tried with a key.
    confirmed: bool

    def address_for(self, model: str, base_url: str) -> str:
        """Return the address at which a model is asked.

        Args:
            model: its name, with or without a vendor's prefix.
            base_url: the configured address; models that no route names are asked there.
        """
        for route in self.routes:
            if model.startswith(route.prefixes):
                return self._along(route, base_url)
        return base_url

    def has_batches(self, model: str, api: str) -> bool:
        """Return whether the seller takes batches of a model; models of a route have none."""
        has_some = self.batches is not None and api in self.batches.apis
        return has_some and not self.is_routed(model)

    def is_routed(self, model: str) -> bool:
        """Return whether a model is asked at the address of a route."""
        return any(model.startswith(route.prefixes) for route in self.routes)

    def addresses(self, base_url: str) -> tuple[str, ...]:
        """Return all addresses at which there are models, the configured one first."""
        routed = (self._along(route, base_url) for route in self.routes)
        return tuple(dict.fromkeys((base_url, *routed)))

    def _along(self, route: Route, base_url: str) -> str:
        """Return the address of a route, or the base address if its path is another."""
        own, base = urlsplit(self.base_url).path.rstrip("/"), base_url.rstrip("/")
        return base.removesuffix(own) + route.path if base.endswith(own) else base_url


class ProviderTable(Facts):
    """The sellers of one file."""

    rows: Annotated[tuple[ProviderProfile, ...], Field(alias="provider", min_length=1)]

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("a name is listed twice")
        return self


def load_profile(name: str = "proxyapi") -> ProviderProfile:
    """Return a profile by name, or by path (with a slash, or ending in `.toml`).

    Raises:
        ConfigurationError: there is no such name, or file, line, row and field that are wrong.
    """
    if "/" in name or name.endswith(".toml"):
        path = Path(name)
        rows = load(ProviderTable, _FILE, path).rows
        if len(rows) > 1:
            raise ConfigurationError(f"{name}: provider 2 ({rows[1].name}): only one row is read")
        beside = rows[0].prices and path.parent / rows[0].prices
        return rows[0].model_copy(update={"prices": beside})
    known = {row.name: row for row in _built_in().rows}
    if name not in known:
        raise ConfigurationError(
            f"{name[:64]!r} is no known provider; give {', '.join(known)}, or the"
            " path of a .toml file with a row of your own"
        )
    return known[name]


@functools.cache
def _built_in() -> ProviderTable:
    return load(ProviderTable, _FILE, None)
