"""Turns against a plain model."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feed.post.v1.delivery_pb2 import DELIVERY_BOTH, DELIVERY_PULL, DELIVERY_PUSH, DELIVERY_UNSPECIFIED
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import post_svc.__main__ as post
from meshkit.queue.memory import MemoryQueue
from meshkit.settings import MeshSettings
from tests.rpc.client import Tokens, post_settings, stubs
from tests.rpc.post_calls import Author, Deliveries, Posts

Run = Callable[[Coroutine[Any, Any, Any]], Any]
AUTHORS = 3
WHO = st.integers(0, AUTHORS - 1)


@dataclass
class Plain:
    """An author, as plainly as it can be said."""

    delivery: int = DELIVERY_PUSH
    turn: int = 0
    forced: bool = False


class TurnMachine(RuleBasedStateMachine):
    """Does the same to a service and to the model. Each run has authors of its own, so that one service serves them all."""

    def __init__(self, deliveries: Deliveries, posts: Posts, first: int, run: Run) -> None:
        super().__init__()
        self.deliveries, self.posts, self.run = deliveries, posts, run
        self.ids = range(first, first + AUTHORS)
        self.plain = {author: Plain() for author in self.ids}
        self.turns = self.before = 0

    @initialize()
    def others_have_turned(self) -> None:
        """Begin after the turns of earlier runs."""
        turned: list[Author] = self.run(self.deliveries.turned())
        self.turns = self.before = turned[-1].turn if turned else 0

    @rule(who=WHO, pull=st.booleans(), force=st.booleans())
    def decide(self, who: int, pull: bool, force: bool) -> None:  # noqa: FBT001 - hypothesis calls by name
        """Wish for a delivery."""
        plain = self.plain[self.ids[who]]
        if force or not plain.forced:
            plain.forced = force
            if pull != (plain.delivery != DELIVERY_PUSH):
                self.turns += 1
                plain.delivery, plain.turn = DELIVERY_BOTH if pull else DELIVERY_PUSH, self.turns
        answer = self.run(self.deliveries.set(self.ids[who], DELIVERY_PULL if pull else DELIVERY_PUSH, force=force))
        self._same(answer, self.ids[who])

    @rule(who=WHO)
    def end_a_force(self, who: int) -> None:
        """Let others decide again."""
        self.plain[self.ids[who]].forced = False
        self._same(self.run(self.deliveries.set(self.ids[who], DELIVERY_UNSPECIFIED, force=True)), self.ids[who])

    @rule(who=WHO, late=st.integers(0, 2))
    def finish(self, who: int, late: int) -> None:
        """Tell that timelines are marked, for this turn or an earlier one."""
        plain = self.plain[self.ids[who]]
        turn = max(1, plain.turn - late)
        if plain.delivery == DELIVERY_BOTH and plain.turn == turn:
            plain.delivery = DELIVERY_PULL
        self.run(self.deliveries.finish(self.ids[who], turn))

    @rule(who=WHO)
    def publish(self, who: int) -> None:
        """Make a post, which is stamped with what its author is."""
        made = self.run(self.posts.create(self.ids[who]))
        assert self.run(self.posts.describe(made.post_id)).delivery == self.plain[self.ids[who]].delivery

    @invariant()
    def every_way_of_asking_agrees(self) -> None:
        """One by one, all together, and page by page it is what the model says."""
        for author in self.ids:
            self._same(self.run(self.deliveries.get(author)), author)
        turned = sorted((plain.turn, author) for author, plain in self.plain.items() if plain.turn)
        listed = self.run(self.deliveries.turned(self.before))
        assert [(each.turn, each.author_id) for each in listed] == turned
        for each in listed:
            self._same(each, each.author_id)
        assert {each.author_id: each for each in self.run(self._paged())} == {each.author_id: each for each in listed}

    async def _paged(self) -> list[Author]:
        found = await self.deliveries.turned(self.before, 1)
        while more := await self.deliveries.turned(found[-1].turn, 1) if found else []:
            found += more
        return found

    def _same(self, answer: Author, author: int) -> None:
        plain = self.plain[author]
        assert (answer.author_id, answer.delivery, answer.turn, answer.forced) == (
            author,
            plain.delivery,
            plain.turn,
            plain.forced,
        )


def test_turns_are_as_plain_as_their_model(tmp_path: Path) -> None:
    """Any wishes, forces, finishes and posts, in any order, do to the service what they do to a model of ten lines."""
    steps = settings(
        max_examples=25,
        stateful_step_count=15,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink what is wrong over gRPC would take minutes
        suppress_health_check=[HealthCheck.too_slow],
    )
    common: dict[str, object] = {"data_dir": tmp_path}
    tokens = Tokens(MeshSettings.model_validate(common))
    firsts = iter(range(1_000, 10**9, AUTHORS))
    with asyncio.Runner() as runner:
        serving = post.running(post_settings(common), MemoryQueue())
        connecting = stubs(runner.run(serving.__aenter__()))
        connected = runner.run(connecting.__aenter__())
        deliveries, posts = Deliveries(connected, tokens), Posts(connected, tokens)
        try:
            # It says that it wants a class, and calls what it gets without arguments.
            run_state_machine_as_test(
                lambda: TurnMachine(deliveries, posts, next(firsts), runner.run),  # type: ignore[arg-type]
                settings=steps,
            )
        finally:
            runner.run(connecting.__aexit__(None, None, None))
            runner.run(serving.__aexit__(None, None, None))
