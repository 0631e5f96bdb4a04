"""The log outside of the system: what each client asked, what it was answered, and what the nemesis did; a JSON line each.

All that is judged later is read from here. A line is with the kernel before what it tells goes on.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Self

import msgspec

Outcome = Literal["ok", "refused", "unknown"]


class Shown(NamedTuple):
    """A post as an answer showed it. `op` is the operation that wrote its text; -1 when the text is none of ours."""

    post: int
    author: int
    version: int
    op: int


class Asked(msgspec.Struct, tag="asked", tag_field="line", omit_defaults=True, frozen=True):
    """A client is about to ask. `who` asks, about an account `whom` or a `post`; `size` is that of a page; times are in seconds."""

    op: int
    at: float
    client: str
    kind: str
    who: int = 0
    whom: int = 0
    post: int = 0
    size: int = 0
    why: str = ""


class Answered(msgspec.Struct, tag="answered", tag_field="line", omit_defaults=True, frozen=True):
    """What came of it, after so many tries. `whole`: pages were read to the end. `failures`: statuses that no contract has."""

    op: int
    at: float
    outcome: Outcome
    status: int = 0
    tries: int = 1
    made: int = 0
    state: str = ""
    pages: list[list[Shown]] = []
    whole: bool = False
    failures: list[str] = []


class Fault(msgspec.Struct, tag="fault", tag_field="line", frozen=True):
    """Something was broken at `begin`, and whole again at `end`."""

    name: str
    detail: str
    begin: float
    end: float


class Delivered(msgspec.Struct, tag="delivered", tag_field="line", frozen=True):
    """A follower's feed showed a post for the first time, so many seconds after the post was answered."""

    post: int
    viewer: int
    at: float
    seconds: float


class Turned(msgspec.Struct, tag="turned", tag_field="line", frozen=True):
    """How an author's posts get into feeds was seen to change."""

    author: int
    delivery: str
    at: float


Line = Asked | Answered | Fault | Delivered | Turned


class Ledger:
    """Writes the log."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()
        self._last = 0

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """Write to a file for the length of a block."""
        ledger = cls(path)
        try:
            yield ledger
        finally:
            ledger._file.close()

    def number(self) -> int:
        """Give an operation's number."""
        self._last += 1
        return self._last

    def write(self, line: Line) -> None:
        """Note something."""
        self._file.write(self._encoder.encode(line) + b"\n")


def now() -> float:
    """Give the time that all lines go by."""
    return time.monotonic()


def read(path: Path) -> list[Line]:
    """Read a log, as far as its lines are whole."""
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as file:
        return [decoder.decode(line) for line in file if line.endswith(b"\n")]
