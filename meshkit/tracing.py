"""The trace that a piece of work belongs to (W3C Trace Context), carried along calls and messages.

Only OpenTelemetry's API is used: a trace that comes in is handed on. Whoever installs its SDK gets spans as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADER = "traceparent"
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
    """Let the block belong to the trace that a header names. One that cannot be read, or is empty, starts none."""
    token = context.attach(_propagator.extract({HEADER: header}, context.Context()))
    try:
        yield
    finally:
        context.detach(token)
