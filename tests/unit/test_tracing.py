"""Which headers continue a trace."""

import logging

import pytest

from meshkit import tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADER = f"00-{TRACE}-b7ad6b7169203331-01"


def test_a_header_of_the_form_is_continued() -> None:
    """Inside the block the trace is the header's, and outside it is none."""
    with tracing.continued(HEADER):
        assert tracing.trace_id() == TRACE
        assert tracing.traceparent() == HEADER
    assert tracing.trace_id() == ""


@pytest.mark.parametrize(
    "header",
    [
        "",
        HEADER[:-1],
        HEADER + "0",
        HEADER + "-" + "x" * 500,
        " " + HEADER,
        HEADER + "\n",
        HEADER.upper(),
        HEADER.replace("0af", "\u0660af"),
        "01" + HEADER[2:],
        "ff" + HEADER[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        "x" * 100_000,
    ],
)
def test_any_other_header_is_ignored(header: str, caplog: pytest.LogCaptureFixture) -> None:
    """What strangers send instead starts no trace, ends the one there is, and writes nothing to the log."""
    with caplog.at_level(logging.DEBUG), tracing.continued(HEADER), tracing.continued(header):
        assert tracing.trace_id() == ""
        assert tracing.traceparent() == ""
    assert not caplog.records
