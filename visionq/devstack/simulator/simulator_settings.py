"""Settings of the simulator over HTTP: `PUT /simulator/settings`."""

from __future__ import annotations

from datetime import date  # pydantic reads it when the module is loaded
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)

from visionq.devstack.simulator.dialects import DialectName
from visionq.devstack.simulator.faults import BatchFault, Fault
from visionq.devstack.simulator.refusals import by_proxy
from visionq.devstack.simulator.truths import SimulatedSureness

if TYPE_CHECKING:
    from collections.abc import Mapping


def _not_a_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")  # noqa: TRY004  # pydantic takes ValueError
    return value


def _number(value: object) -> object:
    if isinstance(value, str):
        raise ValueError("a number, not a string")  # noqa: TRY004  # pydantic takes ValueError
    return _not_a_flag(value)


def _fault_name(value: object) -> object:
    """Accept 429 and "429"."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain_number(amount: Decimal) -> int | float:
    return int(amount) if amount == amount.to_integral_value() else float(amount)


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
PerMinute = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
Probability = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]
#: Rubles: a number or a decimal string.
Money = Annotated[
    Decimal,
    BeforeValidator(_not_a_flag),
    PlainSerializer(_plain_number, return_type=int | float),
    Field(allow_inf_nan=False),
]
Seconds = Annotated[float, BeforeValidator(_number), Field(ge=0, le=10**9)]
FaultName = Annotated[Fault, BeforeValidator(_fault_name)]


class SimulatorSettings(BaseModel):
    """Settings of the simulator; each has a default and can change while it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Seconds between admission and answer.
    latency_s: Annotated[Number, Field(ge=0, le=3600)] = 0
    #: What the account holds. Calls reduce it; setting it is a top-up, or an emptying.
    balance_rub: Money = Decimal(1_000_000)
    #: Whether the key may ask for the balance; on a new key of ProxyAPI it may not.
    balance_readable: StrictBool = True
    #: Limits for each model; null: none.
    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    #: Whether answers carry `x-ratelimit-*` (and a 429 `retry-after-ms`) where a limit is set.
    rate_headers: StrictBool = True
    #: Tokens billed are those of the table times this.
    token_factor: Annotated[Number, Field(gt=0, le=1000)] = 1.0
    #: Prices are those of the table times this.
    price_factor: Annotated[Number, Field(gt=0, le=1000)] = 1.0
    #: Whose dialect is spoken: the key's header, the balance, refusals, a cost in each answer.
    dialect: DialectName = "proxyapi"
    #: Seconds by which the clock of the prompt cache is ahead: what it holds lapses earlier.
    cache_clock_ahead_s: Annotated[Number, Field(ge=0, le=10**9)] = 0
    #: Tokens of the answers in plain text; null: no more than it takes to say what is seen.
    answer_tokens: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    #: Model, or `MODEL@DETAIL`, → share of the fields of its answers that are true. With any of
    #: them, answers say what is drawn for each picture, and models not named are always right.
    accuracies: dict[Annotated[str, Field(strict=True)], Probability] = Field(default_factory=dict)
    #: Model → how the field `confidence` of its answers goes with their rightness; of models not
    #: named it is a number like any other. Log probabilities, where asked for, say the same.
    sureness: dict[Annotated[str, Field(strict=True)], SimulatedSureness] = Field(
        default_factory=dict
    )
    #: Another one, other truths.
    truth_seed: StrictInt = 0
    #: Service tiers without room: calls that ask for them are served at the ordinary one.
    full_tiers: tuple[Annotated[str, Field(strict=True)], ...] = ()
    #: Service tiers whose calls are refused with 429 for lack of room, as those of `flex` are.
    refused_tiers: tuple[Annotated[str, Field(strict=True)], ...] = ()
    #: Models that the account has; null: all that have not ended. Others are unknown to it: 404.
    models: tuple[Annotated[str, Field(strict=True)], ...] | None = None
    #: The day by which models end; null: today.
    today: date | None = None
    #: Model → the day on which its row of the list says that it ends, in place of the table's.
    shutdown_dates: dict[str, date] = Field(default_factory=dict)
    #: Models that the key may not use: 403.
    denied_models: tuple[Annotated[str, Field(strict=True)], ...] = ()
    #: Start of the random sequence behind `faults`; setting it starts the sequence again.
    seed: Annotated[int, Field(strict=True)] = 0
    #: Probability of each fault; together at most 1.
    faults: dict[FaultName, Probability] = Field(default_factory=dict)
    #: Faults of the next calls, one for each POST received, before the probabilities.
    faults_next: tuple[FaultName, ...] = ()

    #: Whether there are files and batches; 404 if not.
    batch_api: StrictBool = True
    #: Whether lines of batches may hold pictures; they are refused if not.
    batch_pictures: StrictBool = True
    #: Seconds from the creation of a batch to its last line; those of the next ones go first.
    batch_duration_s: Seconds = 1
    batch_durations_next: tuple[Seconds, ...] = ()
    #: Seconds until a batch expires.
    batch_window_s: Annotated[Number, Field(gt=0, le=10**9)] = 86_400
    #: Seconds that a batch takes to finalize, and to be cancelled.
    batch_finalizing_s: Seconds = 0
    batch_cancelling_s: Seconds = 0
    #: Seconds for which the list does not show a new batch.
    batch_list_lag_s: Seconds = 0
    #: Seconds by which the clock of files and batches is ahead: turn it forward, never back.
    batch_clock_ahead_s: Seconds = 0
    #: Input tokens that a model may have in batches that have not ended; null: no limit.
    batch_enqueued_tokens: Annotated[int, Field(strict=True, ge=0)] | None = None
    #: Whether downloads can be taken up in the middle (`Range`).
    batch_ranges: StrictBool = True
    #: Probability of each fault, drawn whenever it can strike.
    batch_faults: dict[BatchFault, Probability] = Field(default_factory=dict)
    #: Faults that strike at the next occasion, before the probabilities.
    batch_faults_next: tuple[BatchFault, ...] = ()
    #: Share of the lines that the faults of lines strike.
    batch_fault_share: Probability = 0.3

    @model_validator(mode="after")
    def _at_most_certain(self) -> Self:
        if sum(self.faults.values()) > 1 + 1e-9:
            raise ValueError("faults: the probabilities add up to more than 1")
        return self


def merged(current: SimulatorSettings, changes: Mapping[str, Any]) -> SimulatorSettings:
    """Return the settings with `changes` merged in.

    A value of another type or a key that does not exist raises a 422 `Refusal` naming the field.
    """
    kept = {name: getattr(current, name) for name in SimulatorSettings.model_fields}
    try:
        return SimulatorSettings.model_validate({**kept, **changes})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        details = [
            {"loc": ["body", *item["loc"]], "msg": item["msg"], "type": item["type"]}
            for item in found
        ]
        raise by_proxy(422, details) from None
