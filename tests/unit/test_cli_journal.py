"""The journal: nothing that was told is forgotten, whatever byte the kill came at."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.journal import (
    Facts,
    FollowAsked,
    FollowMade,
    Journal,
    JournalError,
    PostAsked,
    PostMade,
    Record,
    Seeded,
    Started,
    UserAsked,
    UserMade,
    read,
)

NUMBERS = st.integers(0, 2**40)
IDS = st.integers(1, 2**64 - 1)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(UserAsked, NUMBERS, st.text(max_size=8)),
    st.builds(UserMade, NUMBERS, IDS),
    st.builds(FollowAsked, NUMBERS, NUMBERS),
    st.builds(FollowMade, NUMBERS, NUMBERS),
    st.builds(PostAsked, NUMBERS, NUMBERS, st.text("0123456789abcdef", max_size=16)),
    st.builds(PostMade, NUMBERS, IDS),
    st.builds(Started, NUMBERS),
    st.builds(Seeded, st.text(max_size=12)),
)


def _facts(records: list[Record]) -> Facts:
    facts = Facts()
    for record in records:
        facts.add(record)
    return facts


@given(st.lists(RECORDS, max_size=12), st.data())
def test_a_journal_cut_at_any_byte_is_read_up_to_its_last_whole_line(records: list[Record], data: st.DataObject) -> None:
    """After a cut the journal says what its whole lines say, and what is appended then is read back whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seed", "journal.jsonl")
        with Journal.open(path) as journal:
            for record in records:
                journal.write(record)
        content = path.read_bytes()
        cut = content[: data.draw(st.integers(0, len(content)))]
        path.write_bytes(cut)
        whole = records[: cut.count(b"\n")]
        assert read(path) == _facts(whole)
        with Journal.open(path) as journal:
            assert journal.facts == _facts(whole)
            journal.write(PostMade(1, 2))
        assert read(path) == _facts([*whole, PostMade(1, 2)])


def test_a_record_is_readable_before_write_returns(tmp_path: Path) -> None:
    """A kill right after `write` loses nothing: another reader sees the record at once."""
    path = tmp_path / "journal.jsonl"
    with Journal.open(path) as journal:
        journal.write(PostAsked(3, 4, "00ff"))
        assert read(path).asked_posts == {3: PostAsked(3, 4, "00ff")}
        assert path.read_bytes() == b'["p?",3,4,"00ff"]\n'


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    """A second seed on the same journal is refused as long as the first has it open."""
    path = tmp_path / "journal.jsonl"
    with Journal.open(path), pytest.raises(JournalError, match="another seed"), Journal.open(path):
        pass
    with Journal.open(path) as journal:
        journal.write(Seeded("x"))


@pytest.mark.parametrize("line", [b"\n", b"nonsense\n", b'["u",1]\n', b'["odd",1,2]\n', b"\x00\x00\n", b'["u",1,"\xff"]\n'])
def test_a_whole_line_that_makes_no_sense_is_an_error(tmp_path: Path, line: bytes) -> None:
    """Damage that no kill explains is not passed over; the message names the line."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'["run",1]\n' + line + b'["run",2]\n')
    with pytest.raises(JournalError, match="damaged in line 2"):
        read(path)


def test_a_journal_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    """Verifying before seeding is told to seed."""
    with pytest.raises(JournalError, match="feedmesh seed"):
        read(tmp_path / "none.jsonl")
