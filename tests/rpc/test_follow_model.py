"""The graph against plain sets: edges, requests, mutes, blocks and private accounts."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import graph_svc.__main__ as graph
from meshkit.queue.memory import MemoryQueue
from meshkit.settings import MeshSettings
from tests.rpc.client import Failure, Tokens, graph_settings, outcome, stubs
from tests.rpc.conftest import People
from tests.rpc.feeds import serving_feeds
from tests.rpc.follow_calls import Graph, Range

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Pair = tuple[int, int]
Step = tuple[str, int, int]
USERS = 4
WHO = st.integers(0, USERS - 1)
# What the first of two does to the second.
DEEDS = ("follow", "unfollow", "remove_follower", "approve", "reject", "mute", "unmute", "block", "unblock")
FLIPS = ("hide", "show")
CONTENTION = "CONTENTION"


def steps_of(*deeds: str) -> st.SearchStrategy[list[Step]]:
    """Give some steps between two different users."""
    step = st.tuples(st.sampled_from(deeds), WHO, WHO).filter(lambda step: step[1] != step[2])
    return st.lists(step, min_size=1, max_size=12)


@dataclass
class Model:
    """What a graph is: sets of pairs, the one who does it first."""

    edges: set[Pair] = field(default_factory=set)
    requests: set[Pair] = field(default_factory=set)
    mutes: set[Pair] = field(default_factory=set)
    blocks: set[Pair] = field(default_factory=set)
    private: set[int] = field(default_factory=set)

    def do(self, deed: str, one: int, other: int) -> str:
        """Do a deed, and give the reason for which it is refused, if it is."""
        there, back = (one, other), (other, one)
        match deed:
            case "follow":
                return self._follow(there)
            case "approve" if back not in self.edges | self.requests:
                return "FOLLOW_REQUEST_NOT_FOUND"
            case "approve":
                self.requests.discard(back)
                self.edges.add(back)
            case "unfollow":
                self.edges.discard(there)
                self.requests.discard(there)
            case "remove_follower":
                self.edges.discard(back)
            case "reject":
                self.requests.discard(back)
            case "block":
                self.edges -= {there, back}
                self.requests -= {there, back}
                self.blocks.add(there)
            case "mute" | "unmute" | "unblock":
                pairs = self.blocks if deed == "unblock" else self.mutes
                (pairs.add if deed == "mute" else pairs.discard)(there)
            case "hide" | "show":
                (self.private.add if deed == "hide" else self.private.discard)(one)
        return ""

    def _follow(self, pair: Pair) -> str:
        if pair in self.edges:
            return ""
        if self.blocks & {pair, pair[::-1]}:
            return "FOLLOW_REFUSED"
        if pair[1] in self.private:
            self.requests.add(pair)
        else:
            self.edges.add(pair)
            self.requests.discard(pair)
        return ""

    def can_view(self, pair: Pair) -> bool:
        """Tell whether the first sees the second's posts."""
        return not self.blocks & {pair, pair[::-1]} and (pair[1] not in self.private or pair in self.edges)


class FollowMachine(RuleBasedStateMachine):
    """Does the same to a service and to a model. Each run has accounts of its own, so that one service serves them all."""

    def __init__(self, follows: Graph, people: People, run: Run) -> None:
        super().__init__()
        self.follows = follows
        self.run = run
        self.ids: list[int] = run(people.ids(USERS))
        self.model = Model()

    @rule(steps=steps_of(*DEEDS, *FLIPS))
    def one_after_the_other(self, steps: list[Step]) -> None:
        """Each deed succeeds, or is refused for the reason for which the model refuses it."""
        for deed, one, other in steps:
            answer = self.run(self._do(deed, one, other))
            assert getattr(answer, "reason", "") == self.model.do(deed, self.ids[one], self.ids[other])

    @rule(steps=steps_of("follow", "unfollow", "mute", "unmute"))
    def several_followers_at_once(self, steps: list[Step]) -> None:
        """Each follower does its steps one after the other, all followers at the same time: none depends on another's."""
        by_follower = defaultdict(list)
        for step in steps:
            by_follower[step[1]].append(step)

        async def do(mine: list[Step]) -> None:
            for deed, one, other in mine:
                answer = await self._do(deed, one, other)
                expected = self.model.do(deed, self.ids[one], self.ids[other])
                assert getattr(answer, "reason", "") == expected

        self.run(self._at_once(map(do, by_follower.values())))

    @rule(steps=steps_of(*DEEDS, *FLIPS))
    def all_at_once(self, steps: list[Step]) -> None:
        """Everything at the same time: what stands afterwards may stand, and every way of reading agrees on it."""
        answers = self.run(self._at_once(self._do(*step) for step in steps))
        reasons = {answer.reason for answer in answers if isinstance(answer, Failure)}
        assert reasons <= {"FOLLOW_REFUSED", "FOLLOW_REQUEST_NOT_FOUND", CONTENTION}
        before, self.model = self.model, self.run(self._read())
        self._check_wishes(before, steps)

    @invariant()
    def all_readings_agree(self) -> None:
        """Every way of reading gives exactly what the model holds."""
        self.run(self._at_once(map(self._compare, self.ids)))

    def _check_wishes(self, before: Model, steps: list[Step]) -> None:
        """Whatever has changed, somebody asked for; and blocks stand alone."""
        deeds = {(deed, self.ids[one], self.ids[other]) for deed, one, other in steps}
        for kind, begin, end in (("blocks", "block", "unblock"), ("mutes", "mute", "unmute")):
            was, stands = getattr(before, kind), getattr(self.model, kind)
            assert all((begin, *pair) in deeds for pair in stands - was)
            assert all((end, *pair) in deeds for pair in was - stands)
        for one, other in (self.model.edges | self.model.requests) - before.edges - before.requests:
            assert ("follow", one, other) in deeds
        for pair in self.model.edges | self.model.requests:
            assert not self.model.blocks & {pair, pair[::-1]}
        assert not self.model.edges & self.model.requests

    async def _do(self, deed: str, one: int, other: int) -> Any:  # noqa: ANN401
        if deed in FLIPS:
            return await outcome(self.follows.set_private(self.ids[one], private=deed == "hide"))
        return await outcome(getattr(self.follows, deed)(self.ids[one], self.ids[other]))

    async def _at_once(self, calls: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
        return await asyncio.gather(*calls)

    async def _read(self) -> Model:
        """Read what stands, in the one way that tells it all."""
        model = Model()
        for pair in permutations(self.ids, 2):
            relation = await self.follows.relation(*pair)
            facts = {
                "edges": relation.following,
                "requests": relation.requested,
                "mutes": relation.muted,
                "blocks": relation.blocking,
            }
            for name in (name for name, holds in facts.items() if holds):
                getattr(model, name).add(pair)
            if relation.author_private:
                model.private.add(pair[1])
        return model

    async def _compare(self, user: int) -> None:
        model, follows = self.model, self.follows
        followers = sorted(one for one, other in model.edges if other == user)
        followees = sorted(other for one, other in model.edges if one == user)
        assert await follows.counts(user) == (len(followers), len(followees))
        assert sorted([each.user_id for each in (await follows.followers(user, user)).users]) == followers
        assert [each.user_id for each in (await follows.following(user, user)).users] == followees
        fed = sorted(one for one in followers if (one, user) not in model.mutes)
        assert sorted(await follows.whole_range(user, Range(), 2)) == fed
        feeding = [other for other in followees if (user, other) not in model.mutes]
        assert await follows.followee_ids(user) == await self._sliced(user) == feeding
        assert await follows.all_of(follows.requests, user, 2) == sorted(one for one, other in model.requests if other == user)
        assert await follows.all_of(follows.sent, user, 2) == sorted(other for one, other in model.requests if one == user)
        assert await follows.all_of(follows.mutes, user, 2) == sorted(other for one, other in model.mutes if one == user)
        assert await follows.all_of(follows.blocks, user, 2) == sorted(other for one, other in model.blocks if one == user)
        others = [other for other in self.ids if other != user]
        assert await follows.visible(user, others) == [other for other in others if model.can_view((user, other))]

    async def _sliced(self, user: int) -> list[int]:
        """Give followees one call each."""
        found: list[int] = []
        while ids := await self.follows.followee_ids(user, after=found[-1] if found else 0, limit=1):
            found += ids
        return found


def test_a_graph_is_what_its_sets_are(tmp_path: Path) -> None:
    """Any deeds, also at once, do to the service what they do to plain sets, as seen from every side."""
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
        telling = serving_feeds(tokens.settings)
        feeds = runner.run(telling.__aenter__())
        serving = graph.running(graph_settings(common, timeline_address=feeds.address), MemoryQueue())
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
            for opened in (connecting, serving, telling):
                runner.run(opened.__aexit__(None, None, None))
