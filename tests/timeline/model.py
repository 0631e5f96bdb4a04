"""A plain model of a stored home timeline."""

from dataclasses import dataclass, field

from timeline_svc.packed import Entry


@dataclass
class Timeline:
    """A timeline with what stands beside it. Without one of the two there is none."""

    generation: bytes
    ready: bool = False
    floor: int = 0
    entries: dict[int, int] = field(default_factory=dict)
    changes: dict[int, tuple[int, bool]] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)

    @property
    def hidden(self) -> set[int]:
        """The authors who left."""
        return {author for author, (_, gone) in self.changes.items() if gone}

    def merge(self, entries: list[Entry], floor: int) -> None:
        """Take entries that are complete from the floor on."""
        self.floor = max(self.floor, floor)
        self.entries |= {entry.post_id: entry.author_id for entry in entries}
        self.drop(self.hidden if self.ready else set())

    def drop(self, authors: set[int]) -> None:
        """Take out what is of these authors or below the floor."""
        kept = {post_id: author for post_id, author in self.entries.items() if author not in authors and post_id >= self.floor}
        self.entries = kept

    def note(self, author: int, version: int, *, gone: bool) -> bool:
        """Note a change unless a newer one of the author is noted."""
        if author in self.changes and self.changes[author][0] > version:
            return False
        self.changes[author] = version, gone
        return True

    def complete(self, marks: dict[int, int], left: dict[int, int], back: dict[int, int]) -> None:
        """Become ready, with marks."""
        for author, version in left.items():
            self.note(author, version, gone=True)
        for author, version in back.items():
            self.note(author, version, gone=False)
        self.ready = True
        self.mark(marks)

    def mark(self, marks: dict[int, int]) -> None:
        """Mark authors at the later of both turns."""
        self.marks |= {author: max(turn, self.marks.get(author, 0)) for author, turn in marks.items()}

    def unmark(self, authors: set[int]) -> None:
        """Take marks away."""
        self.marks = {author: turn for author, turn in self.marks.items() if author not in authors}
