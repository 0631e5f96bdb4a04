"""The oracle against a brute force that reads the definition of a feed word by word."""

import ast
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import cli.oracle
from cli.journal import Facts, FollowAsked, FollowMade, PostAsked, PostMade, UserAsked, UserMade
from cli.oracle import Oracle

USERS = 5
EDGES = st.tuples(st.integers(0, USERS - 1), st.integers(0, USERS - 1)).filter(lambda edge: edge[0] != edge[1])
# Ids that differ only beyond what a float holds, and ids of different lengths, as text would sort wrongly.
POST_IDS = st.one_of(st.integers(1, 200), st.integers(2**64 - 200, 2**64 - 1))
POSTS = st.lists(st.tuples(POST_IDS, st.integers(0, USERS - 1), st.booleans()), max_size=30, unique_by=lambda post: post[0])
FOLLOWS = st.dictionaries(EDGES, st.booleans(), max_size=12)

Post = tuple[int, int, bool]


def _user_id(user: int) -> int:
    return 10**15 - user


def _facts(follows: dict[tuple[int, int], bool], posts: list[Post]) -> Facts:
    facts = Facts()
    for user in range(USERS):
        facts.add(UserAsked(user, f"user_{user}"))
        facts.add(UserMade(user, _user_id(user)))
    for (follower, followee), acknowledged in follows.items():
        facts.add(FollowAsked(follower, followee))
        if acknowledged:
            facts.add(FollowMade(follower, followee))
    for number, (post_id, author, acknowledged) in enumerate(posts):
        facts.add(PostAsked(number, author, f"{number:016x}"))
        if acknowledged:
            facts.add(PostMade(number, post_id))
    return facts


@given(FOLLOWS, POSTS)
def test_the_oracle_agrees_with_brute_force(follows: dict[tuple[int, int], bool], posts: list[Post]) -> None:
    """Each feed is every acknowledged post of the user and of each acknowledged followee, sorted down by id."""
    oracle = Oracle(_facts(follows, posts))
    for user in range(USERS):
        feed = []
        for post_id, author, acknowledged in posts:
            follows_author = (user, author) in follows and follows[user, author]
            if acknowledged and (author == user or follows_author):
                feed.append(post_id)
        feed.sort()
        feed.reverse()
        assert oracle.expected(_user_id(user)).post_ids == feed


@given(FOLLOWS, POSTS)
def test_what_was_never_acknowledged_may_be_there(follows: dict[tuple[int, int], bool], posts: list[Post]) -> None:
    """Certain, doubtful and no follows are told apart; posts in doubt are known by their text."""
    oracle = Oracle(_facts(follows, posts))
    for user in range(USERS):
        expected = oracle.expected(_user_id(user))
        for author in range(USERS):
            assert expected.may_show(_user_id(author)) == (author == user or (user, author) in follows)
            doubtful = not follows.get((user, author), True)
            assert (_user_id(author) in expected.doubtful_author_ids) == doubtful
    for number, (post_id, _, acknowledged) in enumerate(posts):
        assert oracle.by_digest[f"{number:016x}"].post_id == (post_id if acknowledged else 0)
        assert (post_id in oracle.posts) == acknowledged


def test_the_oracle_shares_no_code_with_the_services() -> None:
    """Of the project's own modules, the oracle and the journal it reads import nothing else."""
    for module, allowed in (("oracle.py", {"cli.journal"}), ("journal.py", set[str]())):
        tree = ast.parse(Path(cli.oracle.__file__).with_name(module).read_text(encoding="utf-8"))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        own = {name for name in imported if name.split(".")[0] in {"cli", "meshkit", "feed", "gateway"} or "_svc" in name}
        assert own == allowed
