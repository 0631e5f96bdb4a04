"""Reads every module's imports and keeps the architecture's rules."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = ("graph_svc", "post_svc", "timeline_svc", "fanout_svc")
PACKAGES = (*SERVICES, "meshkit", "gateway", "cli")

# The names of modules, from the outside in: each may import those further in, and its own kind never the other way round.
LAYERS = {"__main__": 4, "servicer": 3, "servicers": 3, "consumer": 3, "service": 2, "feed": 2, "delivery": 2, "explain": 2}
LAYERS |= dict.fromkeys(("accounts", "follows", "follow_requests", "blocks", "mutes", "visibility", "lost_feeds"), 2)
LAYERS |= dict.fromkeys(("reading", "delivery_service", "media_service", "steering", "ending", "sending", "reach", "sweeper"), 2)
LAYERS |= {"pull": 1, "ports": 1, "domain": 0}
ADAPTERS = {
    "meshkit.engines",
    "meshkit.media.filesystem",
    "meshkit.media.s3",
    "meshkit.queue.memory",
    "meshkit.queue.rabbitmq",
    "meshkit.table.dynamodb",
    "meshkit.table.sqlite",
    "meshkit.ministack",
    "meshkit.private_rabbitmq",
    "meshkit.valkey",
    "timeline_svc.clients",
    "timeline_svc.consumer",
    "timeline_svc.redis_node",
    "timeline_svc.redis_servers",
    "timeline_svc.redis_store",
    "fanout_svc.clients",
    "fanout_svc.consumer",
    "graph_svc.clients",
    "graph_svc.events",
    "post_svc.clients",
    "post_svc.events",
}
# Who may import what the contract generates: servicers, clients of other services, queue messages, and the edge that reads options.
CONTRACT_READERS = {"__main__", "servicer", "servicers", "clients", "consumer", "events"}
CONTRACT_READERS_ELSEWHERE = {
    "meshkit.rpc.calls",
    "meshkit.rpc.edge",
    "meshkit.rpc.validation",
    "gateway.routes",
    "gateway.schemas",
}


def modules() -> dict[str, Path]:
    """Give every module of the product by its dotted name."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(path: Path) -> Iterator[str]:
    """Give the dotted names that a module imports: `from a import b` gives both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def edges() -> dict[str, set[str]]:
    """Give which of the product's modules each module imports."""
    known = modules()
    return {name: {found for found in imports(path) if found in known and found != name} for name, path in known.items()}


def layer(module: str) -> int | None:
    """Give a service module's layer, if its name has one."""
    package, _, name = module.partition(".")
    return LAYERS.get(name.partition(".")[0]) if package in SERVICES else None


def test_services_do_not_import_each_other() -> None:
    """Services meet in the contract only."""
    wrong = [
        (module, found)
        for module, targets in edges().items()
        for found in targets
        if module.split(".")[0] in SERVICES and found.split(".")[0] not in (module.split(".")[0], "meshkit")
    ]
    assert not wrong


def test_the_runtime_does_not_know_the_services() -> None:
    """Meshkit imports nothing of the product but itself."""
    wrong = [
        (module, found)
        for module, targets in edges().items()
        if module.startswith("meshkit")
        for found in targets
        if not found.startswith("meshkit")
    ]
    assert not wrong


def test_layers_point_inwards() -> None:
    """A servicer may know the service, a service the ports, a port the domain; never the other way round."""
    wrong = [
        (module, found)
        for module, targets in edges().items()
        for found in targets
        if (outer := layer(module)) is not None and (inner := layer(found)) is not None and inner > outer
    ]
    assert not wrong


def test_only_composition_roots_import_adapters() -> None:
    """Engines, clients and queues are chosen in `__main__` modules, and by the mesh that runs them all."""
    allowed = {"meshkit.engines", "cli.embedded", "cli.processes", "cli.real_engines", *ADAPTERS}
    wrong = [
        (module, found)
        for module, targets in edges().items()
        for found in targets & ADAPTERS
        if not module.endswith("__main__") and module not in allowed and not found.startswith(module)
    ]
    assert not wrong


def test_generated_code_stays_at_the_edge() -> None:
    """Only servicers, clients, queue messages and readers of the contract's options import generated code."""
    wrong = [
        module
        for module, path in modules().items()
        if any(found.startswith("feed.") for found in imports(path))
        and CONTRACT_READERS.isdisjoint(module.split("."))
        and module not in CONTRACT_READERS_ELSEWHERE
    ]
    assert not wrong


def test_there_are_no_cycles() -> None:
    """The import graph of the product has no cycle."""
    TopologicalSorter(edges()).prepare()


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "misc"])
def test_no_module_is_a_drawer(name: str) -> None:
    """No module is named after nothing."""
    assert not [module for module in modules() if module.rpartition(".")[2] == name]


def test_modules_are_small() -> None:
    """No module is longer than 300 lines."""
    assert not [module for module, path in modules().items() if len(path.read_text().splitlines()) > 300]


def test_the_rules_see_imports(tmp_path: Path) -> None:
    """An import that breaks a rule is found whichever way it is written."""
    module = tmp_path / "module.py"
    module.write_text("import a.b\nfrom c import d\n\ndef f():\n    from e.f import g\n")
    assert set(imports(module)) == {"a.b", "c", "c.d", "e.f", "e.f.g"}
