"""What clients do, episode by episode. Nothing is judged here: what they see goes into the log."""

import asyncio
from collections.abc import Sequence

from tests.chaos.calls import Caller
from tests.chaos.community import Episode
from tests.chaos.ledger import Answered, Delivered, Ledger, now
from tests.chaos.members import Members

# What was answered holds on every path so much later.
_HOLDS_AFTER_S = 1.02
# What arrives has arrived so much later, when nothing is broken.
_ARRIVES_AFTER_S = 2.1
_LONGEST_POLL_S = 0.5
_FULL = 100
_RECENT = 12


class Client:
    """Acts for its authors and for those who look at them. What takes time goes on in a task group beside it.

    A post that did not arrive is looked for until it is `give_up` seconds old.
    """

    def __init__(
        self, name: str, caller: Caller, ledger: Ledger, members: Members, later: asyncio.TaskGroup, *, give_up: float
    ) -> None:
        self._name = name
        self._caller = caller
        self._ledger = ledger
        self._members = members
        self._later = later
        self._give_up = give_up

    async def play(self, episodes: Sequence[Episode], begin: float, seconds: float) -> None:
        """Play episodes, evenly spread; behind time at once, and from a half more than the time on no more."""
        for number, episode in enumerate(episodes):
            await asyncio.sleep(max(0.0, begin + seconds * number / len(episodes) - now()))
            if now() > begin + seconds * 1.5:
                return
            await self._play(episode)

    async def _play(self, episode: Episode) -> None:
        play = {
            "post": self._post,
            "burst": self._burst,
            "twice": self._twice,
            "edit": self._edit,
            "delete": self._delete,
            "deliver": self._deliver,
            "follow": self._follow,
            "unfollow": self._unfollow,
            "remove": self._remove,
            "mute": self._mute,
            "block": self._block,
            "privacy": self._privacy,
        }
        author, viewer = self._members.ids[episode.author], self._members.ids[episode.viewer]
        await play[episode.kind](episode, author, viewer)

    async def post(self, author: int) -> Answered:
        """Publish as a member."""
        answered = await self._caller.write(self._name, "post", self._members.ids[author])
        self._members.note(author, answered.made)
        return answered

    async def _post(self, episode: Episode, _author: int, _viewer: int) -> None:
        await self.post(episode.author)

    async def _burst(self, episode: Episode, _author: int, _viewer: int) -> None:
        await asyncio.gather(*(self.post(episode.author) for _ in range(4)))

    async def _twice(self, episode: Episode, author: int, _viewer: int) -> None:
        """Publish, and repeat that under its request id."""
        await self._caller.write_again(self._name, "post", author, await self.post(episode.author))

    async def _edit(self, episode: Episode, author: int, _viewer: int) -> None:
        if not (post := await self._some_post(episode)):
            return
        await self._caller.write(self._name, "edit", author, post=post)
        for reader in self._readers(episode):
            self._later.create_task(self._look_later(reader, _HOLDS_AFTER_S))

    async def _delete(self, episode: Episode, author: int, _viewer: int) -> None:
        """Delete a post, often at once after it was made, and look for it a second later on every path."""
        if not (post := await self._some_post(episode)):
            return
        self._members.posts[episode.author].remove(post)
        await self._caller.write(self._name, "delete", author, post=post)
        for reader in self._readers(episode):
            self._later.create_task(self._look_later(reader, _HOLDS_AFTER_S, post=post, author=author))

    async def _some_post(self, episode: Episode) -> int:
        """Give one of the author's last posts, or make one; 0 when there is none, since none can be made."""
        made = self._members.posts[episode.author]
        if made and episode.choice < 0.5:
            return made[-1 - int(episode.choice * 2 * min(len(made), _RECENT))]
        return (await self.post(episode.author)).made or (made[-1] if made else 0)

    async def _deliver(self, episode: Episode, _author: int, _viewer: int) -> None:
        """Publish, and wait beside until a follower has it."""
        followers = self._members.steady_followers[episode.author]
        answered = await self.post(episode.author)
        if followers and answered.made:
            follower = followers[int(episode.choice * len(followers))]
            self._later.create_task(self._await_delivery(self._members.ids[follower], answered))

    async def _await_delivery(self, viewer: int, posted: Answered) -> None:
        pause = 0.02
        while now() < posted.at + self._give_up:
            page = await self._caller.read(self._name, "feed", viewer, size=_FULL, pages=1, why="deliver")
            if any(item.post == posted.made for items in page.pages for item in items):
                self._ledger.write(Delivered(posted.made, viewer, now(), page.at - posted.at))
                return
            await asyncio.sleep(pause)
            pause = min(_LONGEST_POLL_S, pause * 1.5)

    async def _follow(self, episode: Episode, author: int, viewer: int) -> None:
        """Follow while posts are on their way."""
        await asyncio.gather(self.post(episode.author), self._write("follow", viewer, author), self.post(episode.author))
        self._later.create_task(self._look_later(viewer, _ARRIVES_AFTER_S))

    async def _remove(self, episode: Episode, author: int, viewer: int) -> None:
        """Throw a follower out while a post is on its way."""
        await self._write("follow", viewer, author)
        await asyncio.gather(self.post(episode.author), self._write("remove", author, viewer))
        await self._look(viewer)

    async def _unfollow(self, episode: Episode, author: int, viewer: int) -> None:
        """Leave while posts are on their way, and the follow's own posts too."""
        await self._write("follow", viewer, author)
        if episode.choice < 0.5:
            await self._look(viewer)
        await asyncio.gather(self.post(episode.author), self._write("unfollow", viewer, author), self.post(episode.author))
        await self._look(viewer)
        if episode.choice < 0.3:
            await self._write("follow", viewer, author)

    async def _mute(self, episode: Episode, author: int, viewer: int) -> None:
        await self._write("follow", viewer, author)
        await asyncio.gather(self.post(episode.author), self._write("mute", viewer, author))
        await self._look(viewer)
        if episode.choice < 0.6:
            await self._write("unmute", viewer, author)
            self._later.create_task(self._look_later(viewer, _ARRIVES_AFTER_S))

    async def _block(self, episode: Episode, author: int, viewer: int) -> None:
        """Block, from either side, while a post is on its way; neither may see the other's posts on any path."""
        await self._write("follow", viewer, author)
        who, whom = (author, viewer) if episode.choice < 0.5 else (viewer, author)
        posted, *_ = await asyncio.gather(self.post(episode.author), self._write("block", who, whom))
        own = self._members.posts[episode.viewer][-1:]
        await asyncio.gather(
            self._look(viewer),
            self._look_at(viewer, author, posted.made),
            self._look(author),
            self._look_at(author, viewer, *own),
            self._write("follow", viewer, author),
        )
        if episode.choice % 0.5 < 0.3:
            await self._write("unblock", who, whom)
            await self._write("follow", viewer, author)
            self._later.create_task(self._look_later(viewer, _ARRIVES_AFTER_S))

    async def _privacy(self, episode: Episode, author: int, viewer: int) -> None:
        """Make an account private, ask to follow it, and answer; strangers see nothing."""
        await self._write("unfollow", viewer, author)
        await self._write("private", author, 0)
        posted = await self.post(episode.author)
        await asyncio.sleep(_HOLDS_AFTER_S)
        await self._look_at(viewer, author, posted.made)
        await self._write("follow", viewer, author)
        await self._look(viewer)
        match int(episode.choice * 4):
            case 0:
                await self._write("reject", author, viewer)
            case 1:
                await self._write("unfollow", viewer, author)
            case _:
                await self._write("approve", author, viewer)
        self._later.create_task(self._look_later(viewer, _ARRIVES_AFTER_S, post=posted.made, author=author))
        if episode.choice < 0.7:
            await self._write("public", author, 0)

    def _readers(self, episode: Episode) -> list[int]:
        """Give two who may have the author's posts before them."""
        followers = self._members.steady_followers[episode.author]
        some = followers[int(episode.choice * len(followers))] if followers else episode.viewer
        return [self._members.ids[some], self._members.ids[episode.viewer]]

    async def _write(self, kind: str, who: int, whom: int) -> Answered:
        return await self._caller.write(self._name, kind, who, whom=whom)

    async def _look(self, viewer: int) -> None:
        await self._caller.read(self._name, "feed", viewer, size=_FULL, pages=1, why="after a change")

    async def _look_at(self, viewer: int, author: int, *posts: int) -> None:
        await self._caller.read(self._name, "posts", viewer, whom=author, pages=1, why="after a change")
        for post in posts:
            if post:
                await self._caller.get_post(self._name, viewer, post, why="after a change")

    async def _look_later(self, viewer: int, seconds: float, *, post: int = 0, author: int = 0) -> None:
        await asyncio.sleep(seconds)
        await self._look(viewer)
        if post:
            await self._look_at(viewer, author, post)
