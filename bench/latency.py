"""`read.p99` and `visible.p99`: what users wait for while 10,000 of them read and write through the gateway."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.bench import Bench
from bench.figure import Figure, Goal, alternating
from bench.read import bare, feed_of_one
from bench.report import say
from bench.rig import gateway_settings
from bench.town import Town
from cli.mesh import APP_ROUTES
from gateway.envoy import run_envoy

_PERCENT = 100
_PROBES_A_SECOND = 25


async def reads(bench: Bench) -> AsyncIterator[Figure]:
    """Measure reads at half the rate that saturates the mesh; the reference is a bare server behind the same gateway and load."""
    town = await Town.build(bench)
    async with _bare_mesh(bench) as bare_url:
        rate = await _half(bench, town)

        async def read_p99() -> float:
            outcome = await town.load(bench.rig.url, rate, bench.seconds)
            _tell("reads", outcome.reads, outcome.behind)
            _tell("writes", outcome.writes, outcome.behind)
            return _ms(outcome.reads, 99)

        async def bare_p99() -> float:
            outcome = await town.load(bare_url, rate, bench.seconds, writes=False)
            _tell("bare reads", outcome.reads, outcome.behind)
            return _ms(outcome.reads, 99)

        values, references = await alternating(bench.rounds, read_p99, bare_p99)
    yield Figure("read.p99", "ms", Goal.at_most(50), values, references)


async def visible(bench: Bench) -> AsyncIterator[Figure]:
    """Measure from a post's acknowledgement to the feed of one of its author's 300 followers; the reference is without a load."""
    town = await Town.build(bench)
    rate = await _half(bench, town)

    async def seen_p99(rate: float) -> float:
        outcome = await town.load(bench.rig.url, rate, bench.seconds, probe_rate=_PROBES_A_SECOND)
        _tell("seen", outcome.seen, outcome.behind)
        return _ms(outcome.seen, 99)

    values, references = await alternating(bench.rounds, lambda: seen_p99(rate), lambda: seen_p99(1))
    yield Figure("visible.p99", "ms", Goal.at_most(250), values, references)


async def _half(bench: Bench, town: Town) -> float:
    """Give half the rate that saturates the mesh, which is warm then."""
    await town.saturate(bench.rig.url, bench.seconds)
    rate = await town.saturate(bench.rig.url, bench.seconds)
    say(f"  saturated at {rate:,.0f} requests/s")
    return rate / 2


@asynccontextmanager
async def _bare_mesh(bench: Bench) -> AsyncIterator[str]:
    """Run a gateway in front of a server that answers every read with the same page, and give its URL."""
    _, answer, _ = await feed_of_one(bench)
    async with bare(bench, answer) as address:
        settings = gateway_settings(bench.rig.folder, dict.fromkeys(APP_ROUTES.values(), address))
        async with run_envoy(settings, bench.rig.folder / "bare-gateway") as gateway:
            yield gateway.url


def percentile(values: Sequence[float], percent: int) -> float:
    """Give the value that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // _PERCENT)]


def _tell(what: str, seconds: Sequence[float], behind: float) -> None:
    spread = ", ".join(f"p{percent} {_ms(seconds, percent):.1f}" for percent in (50, 90, 99))
    say(f"  {len(seconds):,} {what}: {spread} ms; the client was at most {behind * 1e3:.1f} ms late")


def _ms(seconds: Sequence[float], percent: int) -> float:
    return percentile(seconds, percent) * 1e3
