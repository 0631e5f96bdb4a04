"""One run: a mesh, a community, load and faults; then the judgement, from the log."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cli.dev_tokens import minter
from tests.chaos import ledger as log
from tests.chaos.calls import Caller
from tests.chaos.clients import Client
from tests.chaos.community import TURNERS, Plan, Size, planned, rng
from tests.chaos.crowd import Reader, Turner
from tests.chaos.enough import until_found
from tests.chaos.findings import Findings
from tests.chaos.history import History
from tests.chaos.judge import Judge
from tests.chaos.ledger import Ledger
from tests.chaos.members import Members, settled
from tests.chaos.mesh import Engines, Mesh
from tests.chaos.nemesis import Nemesis
from tests.chaos.reads import ReadJudge
from tests.chaos.rest import Api
from tests.chaos.turns import watch
from tests.chaos.writes import judge_writes

# The beginning of the load is without faults: it shows how fast everything is.
_CALM = 0.2
_PATIENCE_S = 100.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What a run is made of. `tree` is the source that the mesh runs from.

    Posts are due `within` so many seconds when nothing is broken. At the end, differences are looked at again for `patience`
    seconds. A run that only asks whether there is something to find ends as soon as it has found differences of a kind `wanted`.
    """

    seed: int
    size: Size
    tree: Path
    folder: Path
    engines: Engines = "embedded"
    faults: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    patience: float = 60.0
    within: float = 2.0
    wanted: Collection[str] = ()

    @property
    def log(self) -> Path:
        """Where the log is written."""
        return self.folder / "ledger.jsonl"


@dataclass(slots=True)
class Result:
    """What a run did and found; times in seconds."""

    history: History
    findings: Findings
    late_users: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def operations(self) -> Counter[str]:
        """Count operations by kind."""
        return Counter(asked.kind for asked, _ in self.history.operations)

    def unknown(self) -> int:
        """Count writes whose outcome was never told."""
        reads = {"feed", "posts", "get"}
        return sum(answered.outcome == "unknown" for asked, answered in self.history.operations if asked.kind not in reads)


async def run(scene: Scene) -> Result:
    """Do it all. Raises ChildError, SetupError or NotHealedError when there is nothing to judge."""
    scene.folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    clock = time.monotonic()

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name], clock = time.monotonic() - clock, time.monotonic()

    mesh = Mesh(scene.tree, scene.folder / "data", scene.engines, _settings(scene))
    async with mesh:
        lap("start")
        mint = minter(mesh.data, lifetime=timedelta(days=1))
        with Ledger.opened(scene.log) as ledger:
            async with Api.opened(mesh.url, mint) as api:
                caller = Caller(api, ledger, rng(scene.seed, "pauses"), patience=_PATIENCE_S)
                plan = planned(scene.size, scene.seed)
                members = await settled(caller, plan, scene.size)
                lap("settle")
                nemesis = Nemesis(mesh, ledger, rng(scene.seed, "nemesis"))
                await until_found(scene.wanted, lambda: _judged(scene)[1], _live(scene, plan, members, caller, nemesis))
                lap("load")
                history, findings = await asyncio.to_thread(_judged, scene)
                lap("judge the log")
                judge = Judge(history, caller, rng(scene.seed, "judge"), patience=scene.patience)
                if not findings.has(scene.wanted):
                    findings.add(await judge.judge(scene.wanted))
                lap("compare the end")
    lap("stop")
    return Result(history, findings, judge.late, seconds)


def _judged(scene: Scene) -> tuple[History, Findings]:
    """Judge what the log tells so far."""
    history = History.of(log.read(scene.log), within=scene.within)
    findings = judge_writes(history)
    findings.add(ReadJudge(history).judge())
    return history, findings


def _settings(scene: Scene) -> dict[str, str]:
    return {
        "FEEDMESH_CHUNK_SIZE": str(scene.size.chunk),
        # So that nothing but the thresholds decides.
        "FEEDMESH_READS_A_DAY": "0.001",
        "FEEDMESH_PUSH_COST_US": "1000",
        "FEEDMESH_PULL_THRESHOLD": str(scene.size.pull_at),
        "FEEDMESH_PUSH_THRESHOLD": str(scene.size.push_at),
        **scene.settings,
    }


async def _live(scene: Scene, plan: Plan, members: Members, caller: Caller, nemesis: Nemesis) -> None:
    """Let everybody live for a while, in calm at first, then with faults."""
    size = scene.size
    begin = log.now()
    until = begin + size.seconds
    async with asyncio.TaskGroup() as later, asyncio.TaskGroup() as group:
        for number, episodes in enumerate(plan.episodes):
            client = Client(f"client {number}", caller, nemesis.ledger, members, later, give_up=scene.patience)
            group.create_task(client.play(episodes, begin, size.seconds))
        for turner in TURNERS:
            client = Client(f"turner {turner}", caller, nemesis.ledger, members, later, give_up=scene.patience)
            group.create_task(Turner(turner, plan.fans[turner], caller, client, members).live(until))
        for number in range(size.readers):
            reader = Reader(f"reader {number}", caller, members, rng(scene.seed, f"reader {number}"))
            group.create_task(reader.live(until, size.readers / size.reads_per_second))
        group.create_task(watch(nemesis.mesh, [members.ids[turner] for turner in TURNERS], nemesis.ledger, until))
        group.create_task(nemesis.haunt(scene.faults, begin + _CALM * size.seconds, (1 - _CALM) * size.seconds))
