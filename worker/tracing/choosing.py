"""Which tracing the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionq.installation import install_command
from visionq.settings import ConfigurationError
from worker.tracing.spans import NoTracing

if TYPE_CHECKING:
    from visionq.settings import Settings
    from worker.tracing.spans import Tracing


def make_tracing(settings: Settings) -> Tracing:
    """Return what sends spans to `VISIONQ_TRACES_URL`, or, without it, nothing.

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
