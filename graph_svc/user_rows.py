"""Where users are kept: a row for the profile, some for the counters, one that holds the username, marks of a private one."""

from collections.abc import Sequence

import msgspec

from graph_svc.domain import Profile, User
from meshkit.buckets import bucket_of
from meshkit.ids import id_bytes, id_from
from meshkit.table.port import AtVersion, Delete, Existence, Key, Operation, Put, Table

# Two transactions on one row get in each other's way, also when they only check it: on a single one, a user whom many begin to
# follow at once would refuse most.
FOLLOWER_SHARDS = 16


class _ProfileRow(msgspec.Struct, array_like=True):
    username: str
    display_name: str
    bio: str
    private: bool


def profile_key(user_id: int) -> Key:
    """Where a user's profile is; it exists as long as the account does."""
    return Key(b"user/" + id_bytes(user_id), b"profile")


def follower_count_key(user_id: int, shard: int) -> Key:
    """Where it is counted how many follow a user, of those followers whose bucket falls into a shard."""
    return Key(b"user/" + id_bytes(user_id), b"followers/%02d" % shard)


def follower_shard(follower_id: int) -> int:
    """Tell in which shard of a user's rows a follower looks and counts."""
    return bucket_of(follower_id) % FOLLOWER_SHARDS


def private_key(user_id: int, shard: int) -> Key:
    """Where it is marked, for followers of a shard, that an account is private; it exists only then."""
    return Key(b"user/" + id_bytes(user_id), b"private/%02d" % shard)


def following_count_key(user_id: int) -> Key:
    """Where it is counted how many a user follows."""
    return Key(b"user/" + id_bytes(user_id), b"following")


def username_key(username: str) -> Key:
    """Where the owner of a username is noted, the same for every spelling of its case."""
    # Of bytes, only A to Z are lowered: Unicode would make a plain k of the Kelvin sign.
    return Key(b"username/" + username.encode().lower(), b"owner")


class UserRepository:
    """Users on a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def creation(self, user_id: int, profile: Profile) -> list[Operation]:
        """Make the operations that create an account; the first fails when the username is taken."""
        return [
            Put(username_key(profile.username), id_bytes(user_id), condition=Existence.ABSENT),
            Put(profile_key(user_id), encode_profile(profile), condition=Existence.ABSENT),
        ]

    async def get(self, user_id: int) -> User | None:
        """Give a user, or None."""
        users = await self.get_many([user_id])
        return users[0] if users else None

    async def get_many(self, user_ids: Sequence[int]) -> list[User]:
        """Give those of the users that exist, in the order asked for."""
        rows = await self._table.get_many([key for user_id in user_ids for key in _keys(user_id)])

        def count(*keys: Key) -> int:
            return sum(rows[key].number for key in keys if key in rows)

        return [
            User(
                user_id=user_id,
                profile=decode_profile(rows[profile_key(user_id)].value),
                follower_count=count(*_follower_count_keys(user_id)),
                following_count=count(following_count_key(user_id)),
            )
            for user_id in user_ids
            if profile_key(user_id) in rows
        ]

    async def missing(self, *user_ids: int) -> int | None:
        """Give the first of the users who has no account, or None."""
        profiles = await self._table.get_many([profile_key(user_id) for user_id in user_ids])
        return next((user_id for user_id in user_ids if profile_key(user_id) not in profiles), None)

    async def find(self, username: str) -> int | None:
        """Give the id of a username's owner, or None."""
        owner = await self._table.get(username_key(username))
        return id_from(owner.value) if owner else None

    async def profile(self, user_id: int) -> tuple[Profile, AtVersion] | None:
        """Give a profile and the condition that it is still the same."""
        item = await self._table.get(profile_key(user_id))
        return (decode_profile(item.value), AtVersion(item.version)) if item else None

    def replacement(self, user_id: int, old: Profile, new: Profile, unchanged: AtVersion) -> list[Operation]:
        """Make the operations that replace a profile, if it is still the same."""
        replaced = Put(profile_key(user_id), encode_profile(new), condition=unchanged)
        return [replaced, *(_marks(user_id, private=new.private) if new.private != old.private else [])]


def _marks(user_id: int, *, private: bool) -> list[Operation]:
    keys = [private_key(user_id, shard) for shard in range(FOLLOWER_SHARDS)]
    return [Put(key, b"") if private else Delete(key) for key in keys]


def _follower_count_keys(user_id: int) -> list[Key]:
    return [follower_count_key(user_id, shard) for shard in range(FOLLOWER_SHARDS)]


def _keys(user_id: int) -> list[Key]:
    return [profile_key(user_id), following_count_key(user_id), *_follower_count_keys(user_id)]


def encode_profile(profile: Profile) -> bytes:
    """Encode a profile."""
    return msgspec.msgpack.encode(_ProfileRow(profile.username, profile.display_name, profile.bio, profile.private))


def decode_profile(value: bytes) -> Profile:
    """Decode what `encode_profile` made."""
    row = msgspec.msgpack.decode(value, type=_ProfileRow)
    return Profile(row.username, row.display_name, row.bio, row.private)
