"""A circuit breaker: who does not answer is left alone for a while, so that callers need not wait for the same failure again.

The pattern is from M. Nygard, "Release It!", with exponential pauses. Callers know no retries: they have another way to go.
"""

import time
from collections.abc import Callable
from types import TracebackType

import structlog

_FAILURES = 5
_FIRST_PAUSE = 0.5
# The longest that somebody who is back is still left alone.
_LONGEST_PAUSE = 2.0

_log = structlog.get_logger(__name__)


class CircuitOpenError(Exception):
    """The call was not tried: the last ones failed."""


class Breaker:
    """Opens after five failures in a row; then nobody is let through but one probe after each pause of 0.5 s to 2 s.

    Any success closes it. Only failures of the given kinds count; other exceptions say nothing about the one called.
    """

    def __init__(self, name: str, failures: tuple[type[Exception], ...], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._kinds = failures
        self._clock = clock
        self._failures = 0
        self._pause = 0.0
        self._opened = 0.0
        self._probing = False

    def call(self) -> "_Call":
        """Run a call in this block. Raises CircuitOpenError instead of beginning it."""
        return _Call(self)

    def admit(self) -> bool:
        """Let a call through, and tell whether it is the probe of an open circuit."""
        if not self._pause:
            return False
        if self._probing or self._clock() - self._opened < self._pause:
            raise CircuitOpenError(f"{self._name} failed {self._failures} times in a row")
        self._probing = True
        return True

    def ended(self, error: BaseException | None, *, probe: bool) -> None:
        """Learn how a call ended that was let through."""
        if probe:
            self._probing = False
        if error is None:
            self._succeeded()
        elif isinstance(error, self._kinds):
            self._failed(error, probe=probe)

    def _failed(self, error: Exception, *, probe: bool) -> None:
        self._failures += 1
        if probe or (not self._pause and self._failures >= _FAILURES):
            if not self._pause:
                _log.warning("server is away", server=self._name, error=f"{type(error).__name__}: {error}")
            # Calls that began before the circuit opened, and fail only now, do not make the pause longer.
            self._pause = min(_LONGEST_PAUSE, self._pause * 2 or _FIRST_PAUSE)
            self._opened = self._clock()

    def _succeeded(self) -> None:
        if self._pause:
            _log.info("server is back", server=self._name)
        self._failures, self._pause = 0, 0.0


class _Call:
    # No generator: calls are too many for what a context manager that is one costs.
    __slots__ = ("_breaker", "_probe")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._probe = False

    def __enter__(self) -> None:
        self._probe = self._breaker.admit()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._breaker.ended(error, probe=self._probe)
