"""Page sizes and page tokens."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from meshkit.errors import InvalidArgumentError
from meshkit.paging import PageTokens, page_size

KEY = b"k" * 32
TOKENS = PageTokens([KEY])
SCOPES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
POSITIONS = st.binary(min_size=1, max_size=32)
ALPHABET = string.ascii_letters + string.digits + "-_"


def refuses(tokens: PageTokens, scope: str, token: str) -> bool:
    """Tell whether a token is refused, as the contract says."""
    try:
        tokens.open(scope, token)
    except InvalidArgumentError as error:
        return (error.reason, set(error.fields)) == ("INVALID_PAGE_TOKEN", {"page_token"})
    return False


@pytest.mark.parametrize(("asked", "given_size"), [(0, 20), (1, 1), (20, 20), (99, 99), (100, 100), (101, 100), (2**31 - 1, 100)])
def test_page_sizes_are_made_to_fit(asked: int, given_size: int) -> None:
    """0 is 20, and what is over 100 is 100."""
    assert page_size(asked) == given_size


@pytest.mark.parametrize("asked", [-1, -(2**31)])
def test_negative_page_sizes_are_refused(asked: int) -> None:
    """A negative size is an error that names the field."""
    with pytest.raises(InvalidArgumentError) as caught:
        page_size(asked)
    assert (caught.value.reason, set(caught.value.fields)) == ("INVALID_FIELD", {"page_size"})


@given(scope=SCOPES, position=POSITIONS)
def test_a_token_opens_for_its_scope(scope: str, position: bytes) -> None:
    """A token gives its position back, is plain text for a URL, and fits the contract's 512 characters."""
    token = TOKENS.sign(scope, position)
    assert TOKENS.open(scope, token) == position
    assert set(token) <= set(ALPHABET)
    assert len(token) <= 512


def test_no_token_asks_for_the_first_page() -> None:
    """The empty token opens everywhere, to no position."""
    assert TOKENS.open("any", "") is None


@given(scope=SCOPES, other=SCOPES, position=POSITIONS)
def test_a_token_opens_for_no_other_scope(scope: str, other: str, position: bytes) -> None:
    """Another viewer's or query's token is refused."""
    assume(scope != other)
    assert refuses(TOKENS, other, TOKENS.sign(scope, position))


@given(scope=SCOPES, position=POSITIONS, bit=st.integers(0))
def test_any_bit_flip_is_refused(scope: str, position: bytes, bit: int) -> None:
    """Whichever bit of the token's text is flipped, if it still means something else, it is refused."""
    token = TOKENS.sign(scope, position)
    raw = bytearray(token.encode())
    # The last character may hold bits that mean nothing: what those do, another test says.
    at = bit % (8 * (len(raw) - 1))
    raw[at // 8] ^= 1 << at % 8
    assert refuses(TOKENS, scope, raw.decode("latin-1"))


def test_a_token_has_one_spelling() -> None:
    """Only the very text that was handed out opens: not another last character, added padding, or the other alphabet."""
    for number in range(200):
        token = TOKENS.sign(f"scope {number}", b"position" + bytes([number, 0]))
        others = {token[:-1] + last for last in ALPHABET} | {token + "=", token.replace("-", "+"), token.replace("_", "/")}
        for other in others - {token}:
            assert refuses(TOKENS, f"scope {number}", other)


@given(token=st.text(min_size=1, max_size=80))
def test_made_up_tokens_are_refused(token: str) -> None:
    """Any text that was not signed is refused, whatever characters it has, and never breaks anything."""
    assert refuses(TOKENS, "scope", token)


@given(position=POSITIONS, cut=st.integers(1, 200))
def test_cut_tokens_are_refused(position: bytes, cut: int) -> None:
    """A token that lost characters at either end is refused."""
    token = TOKENS.sign("scope", position)
    assume(cut < len(token))
    assert refuses(TOKENS, "scope", token[cut:])
    assert refuses(TOKENS, "scope", token[:-cut])


def test_keys_can_be_changed() -> None:
    """The first key signs and all open: tokens that are out go on working until their key is dropped."""
    old = PageTokens([KEY])
    both = PageTokens([b"n" * 32, KEY])
    new = PageTokens([b"n" * 32])
    assert both.open("scope", old.sign("scope", b"1")) == b"1"
    assert new.open("scope", both.sign("scope", b"2")) == b"2"
    assert refuses(new, "scope", old.sign("scope", b"1"))
    assert refuses(old, "scope", both.sign("scope", b"2"))
