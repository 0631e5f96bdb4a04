"""Accounts and profiles, over gRPC."""

import asyncio
from collections import Counter

import grpc
import pytest
from feed.graph.v1 import user_pb2, user_service_pb2
from google.protobuf.field_mask_pb2 import FieldMask

import graph_svc.__main__ as graph
from meshkit.queue.memory import MemoryQueue
from tests.rpc.client import Failure, Stubs, Tokens, graph_settings, outcome, refused, stubs

CODE = grpc.StatusCode
ABSENT_ID = 2**64 - 1
User = user_pb2.User


async def create(connected: Stubs, username: str, **more: str) -> User:
    """Make an account."""
    return (await connected.users.CreateUser(user_service_pb2.CreateUserRequest(username=username, **more))).user


async def get(connected: Stubs, tokens: Tokens, user_id: int) -> User:
    """Give an account."""
    return (await connected.users.GetUser(user_service_pb2.GetUserRequest(user_id=user_id), metadata=tokens.user(user_id))).user


async def find(connected: Stubs, tokens: Tokens, username: str) -> User:
    """Give an account by its name."""
    request = user_service_pb2.LookupUserRequest(username=username)
    return (await connected.users.LookupUser(request, metadata=tokens.user(1))).user


async def update(
    connected: Stubs, tokens: Tokens, user: User, *paths: str, caller: int | None = None, request_id: str = ""
) -> User:
    """Edit a profile, as its owner unless told otherwise."""
    mask = FieldMask(paths=paths) if paths else None
    request = user_service_pb2.UpdateUserRequest(user=user, update_mask=mask, request_id=request_id)
    metadata = tokens.user(caller or user.user_id)
    return (await connected.users.UpdateUser(request, metadata=metadata)).user


async def test_an_account_is_found_as_it_was_made(graph_stubs: Stubs, tokens: Tokens) -> None:
    """What CreateUser answers is what GetUser and LookupUser give, whatever the name's case."""
    made = await create(graph_stubs, "Ada_1815", display_name="Ada Lovelace 👩‍💻", bio="first\nprogrammer\0")
    assert made.user_id > 0
    assert (made.username, made.display_name, made.bio) == ("Ada_1815", "Ada Lovelace 👩‍💻", "first\nprogrammer\0")
    assert (made.follower_count, made.following_count) == (0, 0)
    assert made.create_time.seconds > 1_704_067_200
    assert await get(graph_stubs, tokens, made.user_id) == made
    for spelling in ("Ada_1815", "ada_1815", "ADA_1815"):
        assert await find(graph_stubs, tokens, spelling) == made


@pytest.mark.parametrize("username", ["abc", "A_9", "___", "1" * 3, "x" * 30, "Z" * 29])
async def test_plain_usernames_are_taken(graph_stubs: Stubs, username: str) -> None:
    """3 to 30 letters, digits and underscores make a username, kept as written."""
    assert (await create(graph_stubs, username)).username == username


@pytest.mark.parametrize(
    "username",
    [
        *("", "a", "ab", "x" * 31, "x" * 5_000, "a b", " abc", "abc ", "abc\n", "\nabc", "abc\0", "ab-c", "ab.c", "a@c"),
        *(
            "äbc",
            "abć",
            "\u0430b\u0441",
            "\N{KELVIN SIGN}ate",
            "a\u0301bc",
            "\u202eabc",
            "abc\u200b",
            "١٢٣",
            "\uff41\uff42\uff43",
            "😀😀😀",
            "\u017fam",
            "\u0131an",
        ),
    ],
)
async def test_odd_usernames_are_refused(graph_stubs: Stubs, tokens: Tokens, username: str) -> None:
    """Anything else answers INVALID_ARGUMENT, names the field, and makes nothing."""
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "username"):
        await create(graph_stubs, username)
    if 0 < len(username) <= 100 and "\N{KELVIN SIGN}" not in username:
        with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "username"):
            await find(graph_stubs, tokens, username)


async def test_odd_characters_do_not_find_their_look_alikes(graph_stubs: Stubs, tokens: Tokens) -> None:
    """Case is that of A to Z only: the Kelvin sign, whose lower case is k, is not a letter of a username."""
    await create(graph_stubs, "kate")
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "username"):
        await find(graph_stubs, tokens, "\N{KELVIN SIGN}ate")


async def test_a_username_is_taken_in_every_case(graph_stubs: Stubs, tokens: Tokens) -> None:
    """A name that differs only in case is ALREADY_EXISTS, and its owner stays who it was."""
    first = await create(graph_stubs, "Grace")
    for spelling in ("Grace", "grace", "GRACE", "gRACE"):
        with refused(CODE.ALREADY_EXISTS, "USERNAME_TAKEN", "username"):
            await create(graph_stubs, spelling)
    assert await find(graph_stubs, tokens, "grace") == first


async def test_of_concurrent_creations_exactly_one_wins(graph_stubs: Stubs, tokens: Tokens) -> None:
    """Fifty at once with one name in many cases make one account; the others hear that it is taken."""
    spellings = ["race" if number % 2 else "RACE" for number in range(50)]
    answers = await asyncio.gather(*(outcome(create(graph_stubs, spelling)) for spelling in spellings))
    made = [answer for answer in answers if isinstance(answer, User)]
    assert len(made) == 1
    reasons = Counter(answer.reason for answer in answers if isinstance(answer, Failure))
    assert reasons == {"USERNAME_TAKEN": 49}
    assert await find(graph_stubs, tokens, "rAcE") == made[0]


async def test_the_limits_of_a_profile(graph_stubs: Stubs) -> None:
    """A display name has 100 code points and a bio 500, not one more; each wrong field is named."""
    made = await create(graph_stubs, "long", display_name="😀" * 100, bio="é" * 500)
    assert (len(made.display_name), len(made.bio)) == (100, 500)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "username", "display_name", "bio"):
        await create(graph_stubs, "no", display_name="😀" * 101, bio="é" * 501)


async def test_a_repeated_sign_up_gives_the_first_answer(graph_stubs: Stubs, tokens: Tokens) -> None:
    """Fifty repeats at once, and one after an edit, all give the one account as it was made."""
    answers = await asyncio.gather(*(create(graph_stubs, "once", bio="old", request_id="r-1") for _ in range(50)))
    assert len({answer.user_id for answer in answers}) == 1
    await update(graph_stubs, tokens, User(user_id=answers[0].user_id, bio="new"), "bio")
    assert await create(graph_stubs, "once", bio="old", request_id="r-1") == answers[0]
    assert (await get(graph_stubs, tokens, answers[0].user_id)).bio == "new"


async def test_a_request_id_is_for_one_body(graph_stubs: Stubs, tokens: Tokens) -> None:
    """The same id with another body is an error and makes nothing, also when the name would be taken."""
    first = await create(graph_stubs, "mine", request_id="r-1")
    for username in ("other", "Mine"):
        with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
            await create(graph_stubs, username, request_id="r-1")
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "username"):
        await find(graph_stubs, tokens, "other")
    assert await find(graph_stubs, tokens, "mine") == first


async def test_a_refused_sign_up_does_not_use_up_its_request_id(graph_stubs: Stubs) -> None:
    """A name that was taken leaves no trace of the request id: another name may use it."""
    await create(graph_stubs, "taken")
    with refused(CODE.ALREADY_EXISTS, "USERNAME_TAKEN", "username"):
        await create(graph_stubs, "taken", request_id="r-1")
    assert (await create(graph_stubs, "free", request_id="r-1")).username == "free"


@pytest.mark.parametrize("request_id", ["a b", "é", "x" * 65, "a\n", "a/b"])
async def test_odd_request_ids_are_refused(graph_stubs: Stubs, request_id: str) -> None:
    """A request id is 1 to 64 letters, digits, dashes or underscores."""
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "request_id"):
        await create(graph_stubs, "anyone", request_id=request_id)


async def test_unknown_accounts_are_not_found(graph_stubs: Stubs, tokens: Tokens) -> None:
    """An id or a name that nobody has answers NOT_FOUND and names the field; none at all is INVALID_ARGUMENT."""
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "user_id"):
        await get(graph_stubs, tokens, ABSENT_ID)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "username"):
        await find(graph_stubs, tokens, "nobody")
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "username"):
        await find(graph_stubs, tokens, "x" * 101)
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "username"):
        await find(graph_stubs, tokens, "")
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "user_id"):
        await graph_stubs.users.GetUser(user_service_pb2.GetUserRequest(), metadata=tokens.user(1))


@pytest.mark.parametrize(
    ("paths", "after"),
    [
        (("display_name",), ("New", "old bio")),
        (("bio",), ("Old", "new bio")),
        (("bio", "display_name"), ("New", "new bio")),
        (("*",), ("New", "new bio")),
        ((), ("New", "new bio")),
    ],
)
async def test_a_mask_says_what_is_edited(
    graph_stubs: Stubs, tokens: Tokens, paths: tuple[str, ...], after: tuple[str, str]
) -> None:
    """An edit takes the fields of its mask, `*` takes all that can be edited, and no mask takes what is set."""
    made = await create(graph_stubs, "Edit", display_name="Old", bio="old bio")
    wish = User(user_id=made.user_id, username="ignored", display_name="New", bio="new bio", follower_count=9)
    edited = await update(graph_stubs, tokens, wish, *paths)
    assert (edited.display_name, edited.bio) == after
    assert (edited.username, edited.follower_count, edited.create_time) == ("Edit", 0, made.create_time)
    assert await get(graph_stubs, tokens, made.user_id) == edited


async def test_a_mask_can_clear_and_its_absence_cannot(graph_stubs: Stubs, tokens: Tokens) -> None:
    """An empty value is taken when the mask names it, and left alone when there is no mask."""
    made = await create(graph_stubs, "clear", display_name="Name", bio="bio")
    kept = await update(graph_stubs, tokens, User(user_id=made.user_id, bio="other"))
    assert kept.display_name == "Name"
    cleared = await update(graph_stubs, tokens, User(user_id=made.user_id, bio="ignored"), "display_name")
    assert (cleared.display_name, cleared.bio) == ("", "other")


@pytest.mark.parametrize("paths", [("username",), ("user_id",), ("bio", "username"), ("*", "bio"), ("nonsense",), ("",), ("Bio",)])
async def test_a_mask_may_only_name_what_can_be_edited(graph_stubs: Stubs, tokens: Tokens, paths: tuple[str, ...]) -> None:
    """Any other path answers INVALID_ARGUMENT and changes nothing."""
    made = await create(graph_stubs, "mask", bio="old")
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "update_mask"):
        await update(graph_stubs, tokens, User(user_id=made.user_id, username="other", bio="new"), *paths)
    assert await get(graph_stubs, tokens, made.user_id) == made


async def test_an_edit_has_to_change_something(graph_stubs: Stubs, tokens: Tokens) -> None:
    """Without a mask and without a value there is nothing to do, which is an error; so is an edit of no user at all."""
    made = await create(graph_stubs, "empty")
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "update_mask"):
        await update(graph_stubs, tokens, User(user_id=made.user_id))
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "user"):
        await graph_stubs.users.UpdateUser(user_service_pb2.UpdateUserRequest(), metadata=tokens.user(made.user_id))
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "user.display_name", "user.bio"):
        await update(graph_stubs, tokens, User(user_id=made.user_id, display_name="x" * 101, bio="x" * 501), "*")


async def test_only_the_owner_edits_a_profile(graph_stubs: Stubs, tokens: Tokens) -> None:
    """Another's profile is PERMISSION_DENIED, whether it exists or not, and an own one that does not exist is NOT_FOUND."""
    made = await create(graph_stubs, "owner", bio="old")
    for user_id in (made.user_id, ABSENT_ID):
        with refused(CODE.PERMISSION_DENIED, "NOT_THE_CALLER", "user.user_id"):
            await update(graph_stubs, tokens, User(user_id=user_id, bio="new"), "bio", caller=7)
    with refused(CODE.NOT_FOUND, "USER_NOT_FOUND", "user_id"):
        await update(graph_stubs, tokens, User(user_id=7, bio="new"), "bio")
    assert await get(graph_stubs, tokens, made.user_id) == made


async def test_concurrent_edits_of_different_fields_do_not_undo_each_other(graph_stubs: Stubs, tokens: Tokens) -> None:
    """Of edits at once each one that was acknowledged is there afterwards; one that is refused says why."""
    made = await create(graph_stubs, "both")
    wishes = [User(user_id=made.user_id, bio="b"), User(user_id=made.user_id, display_name="d")] * 2
    answers = await asyncio.gather(*(outcome(update(graph_stubs, tokens, wish)) for wish in wishes))
    assert all(isinstance(answer, User) for answer in answers), answers
    final = await get(graph_stubs, tokens, made.user_id)
    assert (final.display_name, final.bio) == ("d", "b")


async def test_a_repeated_edit_does_not_undo_a_later_one(graph_stubs: Stubs, tokens: Tokens) -> None:
    """Repeats of an edit, fifty at once or one after a later edit, give the profile it made and change nothing more."""
    made = await create(graph_stubs, "again")
    wish = User(user_id=made.user_id, bio="first")
    edit = [update(graph_stubs, tokens, wish, "bio", request_id="r-1") for _ in range(50)]
    assert {each.bio for each in await asyncio.gather(*edit)} == {"first"}
    await update(graph_stubs, tokens, User(user_id=made.user_id, bio="second"), "bio")
    assert (await update(graph_stubs, tokens, wish, "bio", request_id="r-1")).bio == "first"
    assert (await get(graph_stubs, tokens, made.user_id)).bio == "second"
    with refused(CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id"):
        await update(graph_stubs, tokens, User(user_id=made.user_id, bio="third"), "bio", request_id="r-1")
    with refused(CODE.INVALID_ARGUMENT, "INVALID_FIELD", "request_id"):
        await update(graph_stubs, tokens, wish, "bio", request_id="no spaces")


async def test_restricted_sign_up_needs_the_scope(common: dict[str, object], queue: MemoryQueue, tokens: Tokens) -> None:
    """Where sign-up is restricted, nobody and a plain user are refused; a scoped user and a service are not."""
    request = user_service_pb2.CreateUserRequest(username="first")
    async with (
        graph.running(graph_settings(common, signup="restricted"), queue) as address,
        stubs(address) as connected,
    ):
        for metadata in ((), tokens.user(7), tokens.user(7, scope="users.created users.creat posts.create")):
            with refused(CODE.PERMISSION_DENIED, "SIGN_UP_RESTRICTED"):
                await connected.users.CreateUser(request, metadata=metadata)
        assert await connected.users.CreateUser(request, metadata=tokens.user(7, scope="openid users.create"))
        assert await connected.users.CreateUser(
            user_service_pb2.CreateUserRequest(username="second"), metadata=tokens.service("importer")
        )


async def test_accounts_outlive_a_restart(common: dict[str, object], queue: MemoryQueue, tokens: Tokens) -> None:
    """An account that was acknowledged is there after the service was stopped and started on the same folder."""
    async with graph.running(graph_settings(common), queue) as address, stubs(address) as connected:
        made = await create(connected, "stays")
    async with graph.running(graph_settings(common), queue) as address, stubs(address) as connected:
        assert await find(connected, tokens, "stays") == made
        with refused(CODE.ALREADY_EXISTS, "USERNAME_TAKEN", "username"):
            await create(connected, "STAYS")
