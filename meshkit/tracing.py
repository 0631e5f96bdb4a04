"""The trace that a piece of work belongs to (W3C Trace Context), carried along calls and messages.

Only OpenTelemetry's API is used: a trace that comes in is handed on. Whoever installs its SDK gets spans as well.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADER = "traceparent"
# Version 00, the only one there is. Headers come from strangers, and OpenTelemetry writes a warning for each that is too long.
_FORM = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_propagator = TraceContextTextMapPropagator()


def traceparent() -> str:
    """Give the header value that names the current trace; empty when there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(HEADER, "")


def trace_id() -> str:
    """Give the id of the current trace in hexadecimal, as logs show it; empty when there is none."""
    span = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span.trace_id) if span.is_valid else ""


@contextmanager
def continued(header: str) -> Iterator[None]:
    """Let the block belong to the trace that a header names. One that is not exactly of the W3C's form starts none."""
    carrier = {HEADER: header} if _FORM.fullmatch(header) else {}
    token = context.attach(_propagator.extract(carrier, context.Context()))
    try:
        yield
    finally:
        context.detach(token)
