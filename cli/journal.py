"""What a seed asked and what it was told, kept outside the system, so that the system can be judged by it.

One JSON array a line. An intent ("u?", "f?", "p?") is written before its call, the answer ("u", "f", "p") after it. A kill may tear
the last line: a line without its newline never counts, and what it would have said is in doubt, which is always true.
"""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

import msgspec


class JournalError(Exception):
    """The journal cannot be used; the message says why and what to do."""


class Seeded(msgspec.Struct, frozen=True, array_like=True, tag="seed"):
    """The first line: which plan this is the journal of."""

    plan: str


class Started(msgspec.Struct, frozen=True, array_like=True, tag="run"):
    """A run began, at a Unix time in seconds."""

    at_s: int


class UserAsked(msgspec.Struct, frozen=True, array_like=True, tag="u?"):
    """The plan's user number `user` is about to be created."""

    user: int
    username: str


class UserMade(msgspec.Struct, frozen=True, array_like=True, tag="u"):
    """The user exists, under this id."""

    user: int
    user_id: int


class FollowAsked(msgspec.Struct, frozen=True, array_like=True, tag="f?"):
    """One of the plan's users is about to follow another."""

    follower: int
    followee: int


class FollowMade(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """The edge exists."""

    follower: int
    followee: int


class PostAsked(msgspec.Struct, frozen=True, array_like=True, tag="p?"):
    """The plan's post number `post` is about to be published by its user number `author`."""

    post: int
    author: int
    digest: str


class PostMade(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """The post exists, under this id."""

    post: int
    post_id: int


Record = Seeded | Started | UserAsked | UserMade | FollowAsked | FollowMade | PostAsked | PostMade


@dataclass(slots=True)
class Facts:
    """All records of a journal, put together. Keys are the plan's numbers."""

    plan: str = ""
    usernames: dict[int, str] = field(default_factory=dict)
    user_ids: dict[int, int] = field(default_factory=dict)
    asked_follows: set[tuple[int, int]] = field(default_factory=set)
    follows: set[tuple[int, int]] = field(default_factory=set)
    asked_posts: dict[int, PostAsked] = field(default_factory=dict)
    post_ids: dict[int, int] = field(default_factory=dict)
    # When the run began that first asked for a post: not later than the asking itself.
    asked_at_s: dict[int, int] = field(default_factory=dict)
    run_at_s: int = 0

    def add(self, record: Record) -> None:
        """Take in the next record."""
        match record:
            case PostMade(post, post_id):
                self.post_ids[post] = post_id
            case PostAsked(post):
                self.asked_posts[post] = record
                self.asked_at_s[post] = self.run_at_s
            case FollowMade(follower, followee):
                self.follows.add((follower, followee))
            case FollowAsked(follower, followee):
                self.asked_follows.add((follower, followee))
            case UserMade(user, user_id):
                self.user_ids[user] = user_id
            case UserAsked(user, username):
                self.usernames[user] = username
            case Started(at_s):
                self.run_at_s = at_s
            case Seeded(plan):
                self.plan = plan


def digest(content: str) -> str:
    """Give a short hash of a post's text, by which it is known again."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read(path: Path) -> Facts:
    """Put together what a journal says, as far as its lines are whole.

    Raises:
        JournalError: there is no such file, or a whole line makes no sense.

    """
    try:
        with path.open("rb") as file:
            return _put_together(file, path)[0]
    except FileNotFoundError:
        raise JournalError(f"there is no journal at {path}: run `feedmesh seed` first, or name it with --journal") from None


class Journal:
    """An open journal: facts to look up, records to append. Each record is with the operating system before `write` returns."""

    def __init__(self, file: BinaryIO, facts: Facts) -> None:
        self.facts = facts
        self._file = file
        self._encode = msgspec.json.Encoder().encode

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open or make a journal for one process; a torn last line is cut off.

        Raises:
            JournalError: another process has it open, or it makes no sense.

        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise JournalError(f"another seed is writing {path}: wait for it, or give another --journal") from None
            file.seek(0)
            facts, end = _put_together(file, path)
            file.truncate(end)
            yield cls(file, facts)

    def write(self, record: Record) -> None:
        """Append a record."""
        self._file.write(self._encode(record) + b"\n")
        self._file.flush()
        self.facts.add(record)


def _put_together(file: BinaryIO, path: Path) -> tuple[Facts, int]:
    """Give the facts, and where the last whole line ends."""
    facts, end = Facts(), 0
    decoder = msgspec.json.Decoder(Record)
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            facts.add(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise JournalError(f"{path} is damaged in line {number}: move it away and seed with a new --prefix") from None
        end += len(line)
    return facts, end
