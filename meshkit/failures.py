"""Failures of task groups, as their callers want to see them."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def single_failure() -> Iterator[None]:
    """Raise what a task group in the block collected as it is, when it is only one."""
    try:
        yield
    except BaseExceptionGroup as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]
        if failure is group:
            raise
        raise failure from failure.__cause__
