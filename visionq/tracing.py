"""The trace that a caller is in, to be carried beside its job: W3C's `traceparent`.

OpenTelemetry is no dependency here: who uses it has imported it, and for others there is no trace.
"""

from __future__ import annotations

import sys
from typing import Any


def current_trace() -> str:
    """Return the caller's span as a `traceparent`, or nothing where it is in none."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
