"""Runs state machines of Hypothesis over a store."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from redis.asyncio import Redis, RedisCluster

from tests.timeline.servers import look_into, patient_store
from timeline_svc.redis_store import RedisTimelineStore

# What a machine, whose rules are plain functions, has things done by.
Run = Callable[[Awaitable[Any]], Any]
Make = Callable[[RedisTimelineStore, Redis | RedisCluster, Run], RuleBasedStateMachine]


def live(server: str, make: Make, *, lives: int, steps: int) -> None:
    """Run so many lives of so many steps over a server; what shows a difference is shortened and told."""
    profile = settings(
        max_examples=lives,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    with asyncio.Runner() as runner:

        def run(call: Awaitable[Any]) -> Any:  # noqa: ANN401  # whatever the call gives
            return runner.run(_waited_for(call))

        opening, redis = patient_store(server), look_into(server)
        store = run(opening.__aenter__())
        try:
            # It says that it wants a class, and calls what it gets without arguments.
            run_state_machine_as_test(lambda: make(store, redis, run), settings=profile)  # type: ignore[arg-type]
        finally:
            run(redis.aclose())
            run(opening.__aexit__(None, None, None))


async def _waited_for(call: Awaitable[Any]) -> Any:  # noqa: ANN401
    return await call
