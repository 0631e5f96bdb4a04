"""Logs: one JSON line an event on standard error, or readable lines where a person watches."""

import logging
import sys

import structlog

from meshkit.tracing import trace_id


def configure_logging(level: str, *, readable: bool | None = None) -> None:
    """Set up logging for the process: `level` is debug, info, warning or error; readable lines by default on a terminal."""
    if readable is None:
        readable = sys.stderr.isatty()
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()
    # What it warns of, the queue's engine logs itself.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _with_trace,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _with_trace(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Name the trace that the logged work belongs to, so that one request's lines are found in every service's log."""
    if found := trace_id():
        event["trace_id"] = found
    return event
