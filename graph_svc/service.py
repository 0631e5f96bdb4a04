"""What the graph service does: accounts and edges, each change one atomic write with its event and its request id."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from graph_svc.domain import Follow, FollowChanged, FollowerPosition, FollowerRange, Profile, User, check_not_self
from graph_svc.follows import FollowRepository
from graph_svc.users import UserRepository, decode_profile, encode_profile, username_key
from meshkit.errors import AlreadyExistsError, NotFoundError, OverloadedError
from meshkit.ids import IdGenerator, id_bytes, id_from
from meshkit.outbox import Event, Outbox
from meshkit.requests import RequestId, answer_record, first_answer, remember
from meshkit.table.port import Condition, ConditionFailedError, Operation, Table

_TRIES = 8


class UserService:
    """Accounts and profiles."""

    def __init__(self, table: Table, ids: IdGenerator) -> None:
        self._table = table
        self._users = UserRepository(table)
        self._ids = ids

    async def create(self, profile: Profile, request: RequestId | None) -> User:
        """Make an account; a repeated request gives the account that it made.

        Raises:
            AlreadyExistsError: the username is taken, or the request id was used for another request.

        """
        user = User(self._ids.next(), profile)
        operations = self._users.creation(user.user_id, profile)
        if request:
            operations.insert(0, answer_record(request, id_bytes(user.user_id)))
        try:
            await self._table.write(*operations)
        except ConditionFailedError as failure:
            if request and (answer := await first_answer(self._table, request)):
                return User(id_from(answer), profile)
            if operations[failure.index].key == username_key(profile.username):
                raise _username_taken(profile.username) from None
            return await self.create(profile, request)  # the id is taken: the clock went back
        return user

    async def get(self, user_id: int) -> User:
        """Give an account. Raises NotFoundError."""
        user = await self._users.get(user_id)
        if user is None:
            raise user_not_found("user_id")
        return user

    async def find(self, username: str) -> User:
        """Give an account by its username. Raises NotFoundError."""
        user_id = await self._users.find(username)
        if user_id is None:
            raise user_not_found("username")
        return await self.get(user_id)

    async def update(self, user_id: int, change: Callable[[Profile], Profile], request: RequestId | None) -> User:
        """Change a profile; a repeated request changes nothing more.

        Raises:
            NotFoundError: there is no such account.
            AlreadyExistsError: the request id was used for another request.

        """
        for _ in range(_TRIES):
            if request and (answer := await first_answer(self._table, request)):
                return replace(await self.get(user_id), profile=decode_profile(answer))
            current = await self._users.profile(user_id)
            if current is None:
                raise user_not_found("user_id")
            profile, unchanged = current
            changed = change(profile)
            answered = [answer_record(request, encode_profile(changed))] if request else []
            try:
                await self._table.write(*answered, self._users.replacement(user_id, changed, unchanged))
            except ConditionFailedError:
                continue
            return replace(await self.get(user_id), profile=changed)
        raise _too_many_changes()


@dataclass(frozen=True, slots=True)
class UserPage:
    """Users, and where to go on; None at the end."""

    users: list[User]
    last: bytes | None


class FollowService:
    """Edges."""

    def __init__(self, table: Table, ids: IdGenerator, outbox: Outbox, encode: Callable[[int, FollowChanged], Event]) -> None:
        self._table = table
        self._users = UserRepository(table)
        self._follows = FollowRepository(table)
        self._ids = ids
        self._outbox = outbox
        self._encode = encode

    async def follow(self, follower_id: int, followee_id: int, request: RequestId | None) -> Follow:
        """Make an edge, or give the one that is there.

        Raises:
            InvalidArgumentError: following oneself.
            NotFoundError: either account does not exist.
            AlreadyExistsError: the request id was used for another request.

        """
        check_not_self(follower_id, followee_id)
        # Accounts are never removed, so this may be asked before the write.
        if missing := await self._users.missing(followee_id, follower_id):
            raise user_not_found("followee_id" if missing == followee_id else "follower_id")
        # Nearly always there was no earlier edge: that is looked at only when the write says otherwise.
        ended, unchanged = 0, None
        for _ in range(_TRIES):
            follow = Follow(follower_id, followee_id, max(self._ids.next(), ended + 1))
            failed = await self._create(follow, unchanged, request)
            if failed is None:
                return follow
            if made := await self._made(follow, request, failed):
                return made
            ended, unchanged = await self._follows.ended(follower_id, followee_id)
        raise _too_many_changes()

    async def _create(self, follow: Follow, ended: Condition, request: RequestId | None) -> Operation | None:
        """Write an edge, and send its event; or give the operation whose condition does not hold."""
        event = self._encode(self._ids.next(), FollowChanged(follow, following=True))
        answered = [answer_record(request, id_bytes(follow.version))] if request else []
        operations = [*answered, *self._follows.creation(follow, ended), self._outbox.record(event)]
        try:
            await self._table.write(*operations)
        except ConditionFailedError as failure:
            return operations[failure.index]
        self._outbox.send(event)
        return None

    async def _made(self, follow: Follow, request: RequestId | None, failed: Operation) -> Follow | None:
        """Give the edge that is there already, or that the request made first; None when it is worth another try."""
        if request and failed.key == request.key and (answer := await first_answer(self._table, request)):
            return replace(follow, version=id_from(answer))
        existing = await self._follows.get(follow.follower_id, follow.followee_id)
        if existing:
            await remember(self._table, request, id_bytes(existing.version))
        return existing

    async def unfollow(self, follower_id: int, followee_id: int, request: RequestId | None) -> None:
        """Remove an edge, if there is one.

        Raises:
            AlreadyExistsError: the request id was used for another request.

        """
        if request and await first_answer(self._table, request) is not None:
            return
        for _ in range(_TRIES):
            existing = await self._follows.see(follower_id, followee_id)
            if existing is None:
                await remember(self._table, request, b"")
                return
            follow, seen = existing
            gone = replace(follow, version=max(self._ids.next(), follow.version + 1))
            event = self._encode(self._ids.next(), FollowChanged(gone, following=False))
            answered = [answer_record(request, b"")] if request else []
            try:
                await self._table.write(*answered, *self._follows.removal(follow, gone.version, seen), self._outbox.record(event))
            except ConditionFailedError:
                continue
            self._outbox.send(event)
            return
        raise _too_many_changes()

    async def is_following(self, follower_id: int, followee_id: int) -> bool:
        """Tell whether there is an edge."""
        return await self._follows.get(follower_id, followee_id) is not None

    async def followers_page(self, user_id: int, size: int, last: bytes | None) -> UserPage:
        """Give followers with profiles, after a position. Raises NotFoundError."""
        await self._require(user_id)
        start = FollowerPosition.from_sort_key(last) if last else None
        after = FollowerRange(replace(start, user_id=start.user_id + 1) if start else None)
        positions = await self._follows.followers(user_id, after, limit=size + 1)
        users = await self._users.get_many([position.user_id for position in positions[:size]])
        return UserPage(users, positions[size - 1].sort_key if len(positions) > size else None)

    async def following_page(self, user_id: int, size: int, last: bytes | None) -> UserPage:
        """Give followees with profiles, after a position. Raises NotFoundError."""
        await self._require(user_id)
        followees = await self._follows.followees(user_id, after=id_from(last) if last else 0, limit=size + 1)
        users = await self._users.get_many(followees[:size])
        return UserPage(users, id_bytes(followees[size - 1]) if len(followees) > size else None)

    async def followee_ids(self, user_id: int, *, after: int, limit: int) -> list[int]:
        """Give whom a user follows: ids above `after`, ascending."""
        return await self._follows.followees(user_id, after=after, limit=limit)

    async def follower_range(
        self, user_id: int, within: FollowerRange, *, limit: int
    ) -> tuple[list[FollowerPosition], FollowerPosition | None]:
        """Give followers inside a range, and where to go on."""
        positions = await self._follows.followers(user_id, within, limit=limit)
        if len(positions) < limit:
            return positions, None
        return positions, replace(positions[-1], user_id=positions[-1].user_id + 1)

    async def _require(self, user_id: int) -> None:
        if await self._users.profile(user_id) is None:
            raise user_not_found("user_id")


def user_not_found(field: str) -> NotFoundError:
    """Say that the account that a field names does not exist."""
    return NotFoundError(f"{field}: there is no such user", reason="USER_NOT_FOUND", fields={field: "is not a user"})


def _username_taken(username: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"the username {username} is taken: choose another", reason="USERNAME_TAKEN", fields={"username": "is taken"}
    )


def _too_many_changes() -> OverloadedError:
    return OverloadedError("too many changes at once; try again", reason="CONTENTION")
