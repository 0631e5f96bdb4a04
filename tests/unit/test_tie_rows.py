"""How ties are stored."""

from hypothesis import given
from hypothesis import strategies as st

from graph_svc.domain import FollowerPosition, Tie, ids_at
from graph_svc.tie_rows import encode_tie, fed

_IDS = st.integers(min_value=0, max_value=2**64 - 1)
# All that the number 0xC3C3… has is the byte that also says `true`.
_EDGES = st.integers(min_value=1, max_value=2**64 - 1) | st.just(0xC3C3C3C3C3C3C3C3)


@given(st.builds(Tie, follow_id=_EDGES, request_id=_IDS, muted=st.booleans(), version=_EDGES))
def test_a_listed_edge_tells_whether_posts_belong_in_the_feed(tie: Tie) -> None:
    """A follower is fed unless the author is muted, whatever the numbers beside are."""
    assert fed([(b"place", encode_tie(tie))]) == ([] if tie.muted else [b"place"])


@given(st.lists(_IDS))
def test_ids_are_read_back_from_positions(user_ids: list[int]) -> None:
    """Any ids come back from their positions' sort keys, in the same order."""
    assert ids_at([FollowerPosition.of(user_id).sort_key for user_id in user_ids]) == user_ids
