"""What every route asks of its request."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer

from producer.gateway.access import Key
from producer.gateway.faults import ErrorBody, Problem
from producer.gateway.services import Services

#: For the document alone: the guard has let the request in already.
_bearer = HTTPBearer(auto_error=False, description="A key that `visionq keys create` has made.")


def content_type(request: Request) -> str:
    """Return the kind of a body, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _key(request: Request, _: Annotated[object, Security(_bearer)]) -> Key:
    key: Key = request.state.key
    return key


def _when_parked(
    choice: Annotated[
        Literal["wait", "refuse"] | None,
        Header(
            alias="X-Visionq-When-Parked",
            include_in_schema=False,
            description="Whether a call waits for its answer while its job is parked until somebody"
            " acts: by a spent budget or a closed gate",
        ),
    ] = None,
) -> bool | None:
    return None if choice is None else choice == "wait"


Open = Annotated[Services, Depends(_services)]
Caller = Annotated[Key, Depends(_key)]
#: Whether to wait for somebody to act; None: as the settings say.
WhenParked = Annotated[bool | None, Depends(_when_parked)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=1024,
        description="The same key again is the same job, and is not paid twice.",
    ),
]

_PROBLEM: Final = {
    "description": "A problem (RFC 9457) with a stable code",
    "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
}
#: What routes of OpenAI's API may answer beside their success.
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorBody, "description": "The request is refused"},
    "5XX": {"model": ErrorBody, "description": "Try again later"},
}
#: What routes of the native API may answer beside their success.
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {"4XX": _PROBLEM, "5XX": _PROBLEM}
