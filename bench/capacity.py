"""`python -m bench.capacity`: what a large service needs, worked out from the last bench. Prints a Markdown table.

A measured rate had all of the machine, the load generator and every engine included: the cores that come out are an upper bound.
Of tables it counts what DynamoDB would: a write unit is a row of up to 1 KB, and twice that in a transaction; a read unit is 4 KB,
consistent; a stored row takes 100 bytes beside its own. Rebuilds, edits, follows and engagement are not counted.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

_DAY_S = 86_400
_YEAR_DAYS = 365
_READ_UNIT_B = 4_000
_IN_TRANSACTION = 2
_BESIDE_A_ROW_B = 100
_OUT = Path(__file__).parent / "out"
# From here on three digits show no fraction.
_WHOLE = 100
_LARGE = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def _assumed(default: float, what: str) -> float:
    value: float = field(default=default, metadata={"help": what})
    return value


@dataclass(frozen=True, slots=True)
class Load:
    """What the service is to bear, and how it is run."""

    users: float = _assumed(500e6, "users a day")
    reads: float = _assumed(5e9, "feed reads a day")
    posts: float = _assumed(1e9, "posts a day")
    followers: float = _assumed(200, "followers a post is pushed to, on average")
    peak: float = _assumed(2, "busiest second over the mean")
    busy: float = _assumed(0.6, "how busy a core may be at peak")
    kept: float = _assumed(1.5, "timelines kept for each user of a day: those who came within a month")
    replicas: float = _assumed(2, "copies of each timeline, the first included")
    filled: float = _assumed(0.75, "how much of Redis' memory may be filled")
    entries: float = _assumed(800, "entries of a timeline")
    recent: float = _assumed(100, "entries of an author's own recent posts")
    missed: float = _assumed(0.5, "posts of a page that no process has in memory")
    post_bytes: float = _assumed(280, "bytes of a post's two rows that stay: post, place with its author")
    post_rows: float = _assumed(4, "rows of a post's write: answer, post, place with its author, event")
    post_reads: float = _assumed(0, "reads before a post is written: its conditions find repeats, and who turned is known")
    tie_bytes: float = _assumed(70, "bytes of a follower's row")
    ties: float = _assumed(200, "followees of each user of a day; an edge is two rows")


@dataclass(frozen=True, slots=True)
class Measured:
    """What the bench says."""

    cores: float
    reads_a_second: float
    posts_a_second: float
    deliveries_a_second: float
    entry_bytes: float

    @classmethod
    def load(cls, folder: Path) -> "Measured":
        """Read what `make bench` wrote. Raises ValueError when something is missing, or was not measured in earnest."""
        try:
            machine = json.loads((folder / "machine.json").read_text())
            values = {figure["name"]: figure["value"] for figure in json.loads((folder / "results.json").read_text())}
        except FileNotFoundError as error:
            raise ValueError(f"there is no {error.filename}: run make bench first") from error
        if machine["smoke"]:
            raise ValueError("the last bench was a smoke run, whose values mean nothing: run make bench")
        names = ("read.rest", "write.rate.sqlite", "fanout.rate", "memory.entry")
        missing = [name for name in names if name not in values]
        if missing:
            raise ValueError(f"the last bench has no {', '.join(missing)}: run make bench, without ONLY")
        return cls(machine["cores"], *(values[name] for name in names))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the sheet."""

    what: str
    arithmetic: str
    result: float
    unit: str


def sheet(load: Load, measured: Measured) -> list[Line]:
    """Work out everything, each from what stands before it."""
    return [*_rates(load), *_cores(load, measured), *_memory(load, measured), *_table(load)]


def _rates(load: Load) -> list[Line]:
    reads, posts = _a_second(load.reads, load), _a_second(load.posts, load)
    return [
        Line("feed reads at peak", f"{large(load.reads)} a day ÷ {_DAY_S} s × {load.peak:g}", reads, "/s"),
        Line("posts at peak", f"{large(load.posts)} a day ÷ {_DAY_S} s × {load.peak:g}", posts, "/s"),
        Line("deliveries at peak", f"{large(posts)}/s × {load.followers:g} followers", posts * load.followers, "/s"),
    ]


def _cores(load: Load, measured: Measured) -> list[Line]:
    posts = _a_second(load.posts, load)
    parts = (
        ("reads", _a_second(load.reads, load), measured.reads_a_second),
        ("posts", posts, measured.posts_a_second),
        ("deliveries", posts * load.followers, measured.deliveries_a_second),
    )
    lines = [
        Line(
            f"cores for {what}",
            f"{large(wanted)}/s ÷ {large(rate)}/s × {measured.cores:g} cores ÷ {load.busy:g} busy",
            wanted / rate * measured.cores / load.busy,
            "",
        )
        for what, wanted, rate in parts
    ]
    terms = " + ".join(large(line.result).strip() for line in lines)
    return [*lines, Line("cores, all", terms, sum(line.result for line in lines), "")]


def _memory(load: Load, measured: Measured) -> list[Line]:
    entry, copies = measured.entry_bytes, load.replicas / load.filled
    each = f"{entry:.3g} B × {load.replicas:g} copies ÷ {load.filled:g} filled"
    timelines = load.users * load.kept * load.entries * entry * copies
    recent = load.users * load.recent * entry * copies
    return [
        Line("Redis, timelines", f"{large(load.users)} × {load.kept:g} × {load.entries:g} entries × {each}", timelines, "B"),
        Line("Redis, authors' posts", f"{large(load.users)} × {load.recent:g} entries × {each}", recent, "B"),
        Line("Redis, all", f"{large(timelines)}B + {large(recent)}B", timelines + recent, "B"),
    ]


def _table(load: Load) -> list[Line]:
    reads, posts = _a_second(load.reads, load), _a_second(load.posts, load)
    each = load.post_rows * _IN_TRANSACTION + 1
    ties = load.followers * load.tie_bytes / _READ_UNIT_B
    a_year = load.posts * _YEAR_DAYS * (load.post_bytes + 2 * _BESIDE_A_ROW_B)
    follows = load.users * load.ties * 2 * (load.tie_bytes + _BESIDE_A_ROW_B)
    return [
        Line(
            "table, write units",
            f"{large(posts)}/s × ({load.post_rows:g} rows × {_IN_TRANSACTION} + 1 for the event's removal)",
            posts * each,
            "/s",
        ),
        Line("table, read units for pages", f"{large(reads)}/s × {load.missed:g} posts", reads * load.missed, "/s"),
        Line(
            "table, read units for posts",
            f"{large(posts)}/s × ({load.post_reads:g} + {load.followers:g} followers × {load.tie_bytes:g} B ÷ {_READ_UNIT_B:,} B)",
            posts * (load.post_reads + ties),
            "/s",
        ),
        Line(
            "table, posts a year",
            f"{large(load.posts)} × {_YEAR_DAYS} days × ({load.post_bytes:g} B + 2 rows × {_BESIDE_A_ROW_B} B)",
            a_year,
            "B",
        ),
        Line(
            "table, follows",
            f"{large(load.users)} × {load.ties:g} × 2 rows × ({load.tie_bytes:g} B + {_BESIDE_A_ROW_B} B)",
            follows,
            "B",
        ),
    ]


def _a_second(a_day: float, load: Load) -> float:
    return a_day / _DAY_S * load.peak


def large(number: float) -> str:
    """Write a number with three digits and the letter for its size, with room for a unit."""
    size, letter = next(((size, letter) for size, letter in _LARGE if number >= size), (1.0, ""))
    scaled = number / size
    return f"{scaled:,.0f} {letter}" if scaled >= _WHOLE else f"{scaled:.3g} {letter}"


def markdown(lines: list[Line]) -> str:
    """Give the sheet as a table."""
    rows = [f"| {line.what} | {line.arithmetic} | {(large(line.result) + line.unit).strip()} |" for line in lines]
    return "\n".join(["| what | how | result |", "|---|---|---|", *rows])


def main() -> None:
    """Print the sheet."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for assumed in fields(Load):
        option = f"--{assumed.name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=assumed.default, help=assumed.metadata["help"])
    options = parser.parse_args()
    try:
        measured = Measured.load(_OUT)
    except ValueError as error:
        sys.exit(str(error))
    sys.stdout.write(markdown(sheet(Load(**vars(options)), measured)) + "\n")


if __name__ == "__main__":
    main()
