"""Pages of accounts, in the order of what is paged through."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from graph_svc.domain import User
from graph_svc.user_rows import UserRepository
from meshkit.ids import id_bytes, id_from


@dataclass(frozen=True, slots=True)
class UserPage:
    """Users, and where to go on; None at the end."""

    users: list[User]
    last: bytes | None


async def page_by_id(
    users: UserRepository, ids_after: Callable[[int, int], Awaitable[list[int]]], size: int, last: bytes | None
) -> UserPage:
    """Give a page of those accounts whose ids, above an id and up to a limit, something gives in ascending order."""
    ids = await ids_after(id_from(last) if last else 0, size + 1)
    return UserPage(await users.get_many(ids[:size]), id_bytes(ids[size - 1]) if len(ids) > size else None)
