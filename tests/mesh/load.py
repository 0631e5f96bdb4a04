"""A steady load through the gateway that does not wait for answers before it goes on (open loop)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.mesh.conftest import Someone

READS_TO_A_WRITE = 4


@dataclass(slots=True)
class Outcome:
    """What became of the requests: how many gave each status (0: no answer), and the ids of the posts that were acknowledged."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    posted: list[str] = field(default_factory=list)

    def note(self, status: int, detail: str) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        if status != 200:
            self.failures.append(f"{status} {detail}"[:300])


@asynccontextmanager
async def load(authors: Sequence[Someone], reader: Someone, *, per_second: float) -> AsyncIterator[Outcome]:
    """Send requests during the block, one write to four reads, and wait at its end for those that are under way."""
    outcome = Outcome()
    async with asyncio.TaskGroup() as group:
        sender = group.create_task(_send(group, authors, reader, outcome, 1 / per_second))
        try:
            yield outcome
        finally:
            sender.cancel()


async def _send(group: asyncio.TaskGroup, authors: Sequence[Someone], reader: Someone, outcome: Outcome, interval: float) -> None:
    loop = asyncio.get_running_loop()
    due, number = loop.time(), 0
    while True:
        author = authors[number // READS_TO_A_WRITE % len(authors)]
        is_write = number % (READS_TO_A_WRITE + 1) == 0
        group.create_task(_post(author, f"number {number}", outcome) if is_write else _read(reader, outcome))
        number, due = number + 1, due + interval
        await asyncio.sleep(max(0.0, due - loop.time()))


async def _post(author: Someone, content: str, outcome: Outcome) -> None:
    try:
        answer = await author.post("/v1/posts", {"content": content})
    except OSError as error:
        outcome.note(0, f"POST {error!r}")
        return
    outcome.note(answer.status, f"POST {answer}")
    if answer.status == 200:
        outcome.posted.append(answer.body["post_id"])


async def _read(reader: Someone, outcome: Outcome) -> None:
    try:
        answer = await reader.get("/v1/feed")
    except OSError as error:
        outcome.note(0, f"GET {error!r}")
        return
    outcome.note(answer.status, f"GET {answer}")
