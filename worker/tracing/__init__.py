"""Spans of a worker's jobs: names and numbers, no content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from visionq.installation import install_command
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from visionq.settings import Settings

Facts: TypeAlias = Mapping[str, str | int | float]
#: Adds facts to the span that runs.
Note: TypeAlias = Callable[[Facts], None]


class Kind(StrEnum):
    """The kind of a span."""

    INTERNAL = "internal"
    #: Takes up what a producer has sent.
    CONSUMER = "consumer"
    #: Calls a service.
    CLIENT = "client"


class Tracing(Protocol):
    """Makes spans; one within another is its child."""

    def span(
        self, name: str, kind: Kind = ..., facts: Facts | None = ..., parent: str = ...
    ) -> AbstractContextManager[Note]:
        """Run a block as a span; record an error's code, never its text."""
        ...

    def stop(self) -> None:
        """Send pending spans."""
        ...


class NoTracing:
    """Tracing that is turned off."""

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind = Kind.INTERNAL,
        facts: Facts | None = None,
        parent: str = "",
    ) -> Iterator[Note]:
        """Run the block."""
        del name, kind, facts, parent
        yield _nothing

    def stop(self) -> None:
        """There is nothing to send."""


def _nothing(facts: Facts) -> None:
    del facts


def make_tracing(settings: Settings) -> Tracing:
    """Return the tracer for `VISIONQ_TRACES_URL`, or one that does nothing.

    Raises:
        ConfigurationError: the packages for it are not installed.
    """
    if settings.traces_url is None:
        return NoTracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  # likewise

        from worker.tracing.opentelemetry import OpenTelemetry  # noqa: PLC0415  # likewise
    except ImportError as error:
        raise ConfigurationError(
            f"VISIONQ_TRACES_URL: needs an extra: {install_command('telemetry')}"
        ) from error
    url = settings.traces_url.get_secret_value()
    return OpenTelemetry(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
