"""Accounts and profiles, each change one atomic write with its request id."""

from collections.abc import Callable
from dataclasses import replace

from graph_svc.changes import too_many_changes
from graph_svc.domain import Profile, User, user_not_found
from graph_svc.user_rows import UserRepository, decode_profile, encode_profile, username_key
from meshkit.errors import AlreadyExistsError
from meshkit.ids import IdGenerator, id_bytes, id_from
from meshkit.requests import RequestId, answer_record, first_answer
from meshkit.table.port import ConditionFailedError, Table

_TRIES = 8


class UserService:
    """Accounts and profiles."""

    def __init__(self, table: Table, users: UserRepository, ids: IdGenerator) -> None:
        self._table = table
        self._users = users
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
                await self._table.write(*answered, *self._users.replacement(user_id, profile, changed, unchanged))
            except ConditionFailedError:
                continue
            return replace(await self.get(user_id), profile=changed)
        raise too_many_changes()


def _username_taken(username: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"the username {username} is taken: choose another", reason="USERNAME_TAKEN", fields={"username": "is taken"}
    )
