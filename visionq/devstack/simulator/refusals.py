"""The two forms of refusals: OpenAI's and ProxyAPI's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class SimulatedRefusal(Exception):
    """A response that ends a call early: status, body, headers."""

    def __init__(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        """Carry the client's response; `body` is JSON."""
        super().__init__(f"{status}: {json.dumps(body, ensure_ascii=False)}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def by_openai(
    message: str,
    *,
    code: str | None,
    param: str | None = None,
    status: int = 400,
    kind: str = "invalid_request_error",
    headers: Mapping[str, str] | None = None,
) -> SimulatedRefusal:
    """Return a refusal in OpenAI's form, which ProxyAPI passes through unchanged."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return SimulatedRefusal(status, {"error": error}, headers)


def by_proxy(status: int, detail: object) -> SimulatedRefusal:
    """Return a refusal in ProxyAPI's form: a `detail`, no code."""
    return SimulatedRefusal(status, {"detail": detail})


def invalid_key() -> SimulatedRefusal:
    """Return the answer to a call without a usable key."""
    return by_proxy(401, "Invalid API Key")


def insufficient_balance() -> SimulatedRefusal:
    """Return the refusal of a call that the balance might not cover."""
    return by_proxy(402, "Insufficient balance to run this request.")


def missing(param: str) -> SimulatedRefusal:
    """Return the answer to a request that lacks a parameter."""
    return by_openai(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def wrong_type(param: str, expected: str, value: object) -> SimulatedRefusal:
    """Return the answer to a parameter of another type."""
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        type(None): "null",
    }
    got = names.get(type(value), "another value")
    return by_openai(
        f"Invalid type for '{param}': expected {expected}, but got {got} instead.",
        param=param,
        code="invalid_type",
    )


def wrong_value(param: str, value: object, supported: tuple[str, ...]) -> SimulatedRefusal:
    """Return the answer to a value outside a fixed list."""
    return by_openai(
        f"Invalid value: '{value}'. Supported values are: {', '.join(map(repr, supported))}.",
        param=param,
        code="invalid_value",
    )


def unknown_model(model: str) -> SimulatedRefusal:
    """Return the answer to a model that the provider does not have."""
    return by_openai(
        f"The model `{model}` does not exist or you do not have access to it.",
        status=404,
        code="model_not_found",
    )
