"""The follow graph against a plain set of edges."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import graph_svc.__main__ as graph
from meshkit.queue.memory import MemoryQueue
from meshkit.settings import MeshSettings
from tests.rpc.client import Tokens, graph_settings, outcome, stubs
from tests.rpc.conftest import People
from tests.rpc.follow_calls import Graph, Range

Run = Callable[[Coroutine[Any, Any, Any]], Any]
USERS = 4
WHO = st.integers(0, USERS - 1)
STEPS = st.lists(st.tuples(st.booleans(), WHO, WHO).filter(lambda step: step[1] != step[2]), min_size=1, max_size=12)


class FollowMachine(RuleBasedStateMachine):
    """Does the same to a service and to a set. Each run has accounts of its own, so that one service serves them all."""

    def __init__(self, follows: Graph, people: People, run: Run) -> None:
        super().__init__()
        self.follows = follows
        self.run = run
        self.ids: list[int] = run(people.ids(USERS))
        self.edges: set[tuple[int, int]] = set()

    @rule(steps=STEPS)
    def several_followers_at_once(self, steps: list[tuple[bool, int, int]]) -> None:
        """Each follower does its steps one after the other, all followers at the same time."""
        by_follower = defaultdict(list)
        for step in steps:
            by_follower[step[1]].append(step)
        self.run(self._all(by_follower.values()))
        for following, one, other in steps:
            edge = (self.ids[one], self.ids[other])
            (self.edges.add if following else self.edges.discard)(edge)

    @rule(steps=STEPS)
    def all_at_once(self, steps: list[tuple[bool, int, int]]) -> None:
        """Everything at the same time: whatever holds of an edge afterwards, somebody asked for."""
        self.run(self._all([[step] for step in steps], refusable=True))
        touched = {(self.ids[one], self.ids[other]) for _, one, other in steps}
        for edge in touched:
            wishes = {following for following, one, other in steps if (self.ids[one], self.ids[other]) == edge}
            holds = self.run(self.follows.is_following(*edge))
            assert holds in wishes | {edge in self.edges}
            (self.edges.add if holds else self.edges.discard)(edge)

    @invariant()
    def both_sides_and_the_counts_agree(self) -> None:
        """Every way of reading gives exactly the edges of the set."""
        self.run(self._compare())

    async def _all(self, sequences: Any, *, refusable: bool = False) -> None:  # noqa: ANN401
        async def do(steps: list[tuple[bool, int, int]]) -> None:
            for following, one, other in steps:
                call = self.follows.follow if following else self.follows.unfollow
                answer = await outcome(call(self.ids[one], self.ids[other]))
                assert refusable or not hasattr(answer, "reason"), answer

        await asyncio.gather(*map(do, sequences))

    async def _compare(self) -> None:
        await asyncio.gather(*map(self._compare_one, self.ids))

    async def _compare_one(self, user: int) -> None:
        followers = {one for one, other in self.edges if other == user}
        followees = sorted(other for one, other in self.edges if one == user)
        listed = await self.follows.all_followers(user, 2)
        assert listed == await self.follows.whole_range(user, Range(), 3)
        assert sorted(listed) == sorted(followers)
        assert await self.follows.all_following(user, 2) == await self.follows.followee_ids(user) == followees
        assert await self.follows.counts(user) == (len(followers), len(followees))


def test_a_follow_graph_is_a_set_of_edges(tmp_path: Path) -> None:
    """Any follows and unfollows, also at once, do to the service what they do to a set, as seen from every side."""
    steps = settings(
        max_examples=12,
        stateful_step_count=6,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink what is wrong over gRPC would take minutes
        suppress_health_check=[HealthCheck.too_slow],
    )
    common: dict[str, object] = {"data_dir": tmp_path}
    tokens = Tokens(MeshSettings.model_validate(common))
    with asyncio.Runner() as runner:
        serving = graph.running(graph_settings(common), MemoryQueue())
        connecting = stubs(runner.run(serving.__aenter__()))
        follows = Graph(runner.run(connecting.__aenter__()), tokens)
        people = People(follows.stubs)
        try:
            # It says that it wants a class, and calls what it gets without arguments.
            run_state_machine_as_test(
                lambda: FollowMachine(follows, people, runner.run),  # type: ignore[arg-type]
                settings=steps,
            )
        finally:
            runner.run(connecting.__aexit__(None, None, None))
            runner.run(serving.__aexit__(None, None, None))
