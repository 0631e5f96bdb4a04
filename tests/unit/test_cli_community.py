"""Communities: sizes, shapes, names and texts."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.community import CommunityError, from_edges, generated


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(0, 12), st.integers(0, 80), st.integers(0, 5))
def test_any_size_makes_a_proper_community(users: int, follows_per_user: int, posts: int, seed: int) -> None:
    """Every plan has its users and posts, follows between its users without loops or repetitions, and comes out the same again."""
    plan = generated(users=users, follows_per_user=follows_per_user, posts=posts, seed=seed)
    assert (len(plan.usernames), len(plan.authors)) == (users, posts)
    assert all(a != b and a in range(users) and b in range(users) for a, b in plan.follows)
    assert len(set(plan.follows)) == len(plan.follows)
    followed = Counter(follower for follower, _ in plan.follows)
    assert all(followed[user] >= min(follows_per_user, user) for user in range(users))
    assert plan == generated(users=users, follows_per_user=follows_per_user, posts=posts, seed=seed)


def test_the_graph_and_the_posts_have_heavy_tails() -> None:
    """A few accounts have many times the median of followers, and write many times the median of posts."""
    plan = generated(users=2_000, follows_per_user=8, posts=20_000)
    for counts in (Counter(followee for _, followee in plan.follows), Counter(plan.authors)):
        ranked = sorted((counts[user] for user in range(2_000)), reverse=True)
        assert ranked[0] > 15 * ranked[1_000]
        assert sum(ranked[:20]) > 0.1 * sum(ranked)


def test_usernames_are_allowed_ones() -> None:
    """Usernames are 3 to 30 of A-Z a-z 0-9 _, also with the longest prefix and the largest number."""
    plan = generated(users=30, follows_per_user=1, posts=0, prefix="p" * 17)
    assert all(re.fullmatch(r"[A-Za-z0-9_]{3,30}", username) for username in plan.usernames)
    assert len(plan.usernames[0]) + len("9999999") <= 30
    for prefix in ("p" * 18, "a-b", "é", "a b"):
        with pytest.raises(CommunityError, match="prefix"):
            generated(users=3, follows_per_user=1, posts=0, prefix=prefix)
    with pytest.raises(CommunityError, match="at least one"):
        generated(users=0, follows_per_user=1, posts=0)


def test_the_name_stands_for_the_whole_plan() -> None:
    """Plans that differ in anything have different names, so that their request ids never meet."""
    plans = [
        generated(users=users, follows_per_user=follows, posts=posts, prefix=prefix, seed=seed)
        for users, follows, posts, prefix, seed in (
            (20, 3, 9, "", 1),
            (21, 3, 9, "", 1),
            (20, 2, 9, "", 1),
            (20, 3, 8, "", 1),
            (20, 3, 9, "b_", 1),
            (20, 3, 9, "", 2),
        )
    ]
    assert len({plan.name for plan in plans}) == len(plans)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,20}", plan.name) for plan in plans)


def test_texts_are_unique_varied_and_inside_the_limits() -> None:
    """No two posts have the same text; scripts outside Latin, line breaks and characters beyond 16 bits occur; none is too long."""
    plan = generated(users=10, follows_per_user=1, posts=3_000)
    texts = [plan.content(post) for post in range(3_000)]
    assert len(set(texts)) == 3_000
    assert all(10 <= len(text) <= 10_000 for text in texts)
    assert max(map(len, texts)) > 1_000
    every = "".join(texts)
    assert all(odd in every for odd in ("\n", "\u2028", "今", "ש", "\u0301", "👩‍👩‍👧‍👦", "\\", '"'))
    assert texts == [plan.content(post) for post in range(3_000)]


def test_edges_are_read_both_ways_or_one(tmp_path: Path) -> None:
    """Comments, loops, repetitions, weights and commas are dealt with; labels get numbers in numeric order."""
    file = tmp_path / "graph.edges"
    file.write_text("% a comment\n# another\n\n10 2\n2,10\n2 2\n2 30 0.5 1999\n")
    both = from_edges(file, posts=4)
    assert both.usernames == ["user_0", "user_1", "user_2"]
    assert set(both.follows) == {(0, 1), (1, 0), (0, 2), (2, 0)}
    assert set(from_edges(file, posts=4, directed=True).follows) == {(1, 0), (0, 1), (0, 2)}


def test_labels_may_be_words(tmp_path: Path) -> None:
    """Accounts named by words are numbered too."""
    file = tmp_path / "graph.edges"
    file.write_text("bob alice\nalice 7\n")
    assert set(from_edges(file, posts=0, directed=True).follows) == {(1, 0), (0, 2)}


@pytest.mark.parametrize(("content", "problem"), [("1 2\n3\n", "line 2"), ("# nothing\n", "at least one user")])
def test_a_bad_file_of_edges_is_told(tmp_path: Path, content: str, problem: str) -> None:
    """A line with one account, or a file without edges, is an error that says so."""
    file = tmp_path / "graph.edges"
    file.write_text(content)
    with pytest.raises(CommunityError, match=problem):
        from_edges(file, posts=1)
