"""Spans by OpenTelemetry, sent by OTLP over HTTP (sdk 1.45)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from visionq.errors import VisionqError
from worker.tracing import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import SpanProcessor

    from worker.tracing import Facts, Note

_KINDS: Final = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.CONSUMER: SpanKind.CONSUMER,
    Kind.CLIENT: SpanKind.CLIENT,
}
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class OpenTelemetry:
    """Spans of this worker, with a provider separate from that of the process."""

    def __init__(self, processor: SpanProcessor) -> None:
        # Named here, so that nothing of the environment, as a command line, gets into a resource.
        self._provider = TracerProvider(
            resource=Resource({SERVICE_NAME: "visionq-worker"}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("visionq")

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind = Kind.INTERNAL,
        facts: Facts | None = None,
        parent: str = "",
    ) -> Iterator[Note]:
        """Run a block as a span of the trace that `parent` (a `traceparent`) names."""
        context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
        span = self._tracer.start_span(
            name, context=context, kind=_KINDS[kind], attributes=dict(facts or {})
        )
        # What OpenTelemetry notes of an error by itself is its text, which may quote anything.
        with trace.use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            try:
                yield lambda more: span.set_attributes(dict(more))
            except Exception as error:
                if getattr(error, "is_fault", True):
                    code = error.code if isinstance(error, VisionqError) else type(error).__name__
                    span.set_attribute("error.type", code)
                    span.set_status(StatusCode.ERROR)
                raise

    def stop(self) -> None:
        """Send pending spans."""
        self._provider.shutdown()
