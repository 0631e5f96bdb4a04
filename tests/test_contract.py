"""The contract and what is generated from it agree."""

import subprocess
from pathlib import Path

from feed.fanout.v1 import fanout_service_pb2
from feed.graph.v1 import follow_service_pb2, user_service_pb2
from feed.post.v1 import media_service_pb2, post_service_pb2
from feed.rules.v1 import rules_pb2
from feed.timeline.v1 import timeline_service_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

ROOT = Path(__file__).parent.parent
FILES = (
    fanout_service_pb2,
    follow_service_pb2,
    media_service_pb2,
    post_service_pb2,
    timeline_service_pb2,
    user_service_pb2,
)


def methods() -> list[MethodDescriptor]:
    """Give every method of every service."""
    return [method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods]


def contents(folder: Path) -> dict[str, bytes]:
    """Give every file below a folder by its relative path."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_generated_code_is_current(tmp_path: Path) -> None:
    """Generating again gives exactly what is committed in gen/."""
    subprocess.run(["make", "--silent", "gen", f"GEN={tmp_path / 'gen'}"], cwd=ROOT, check=True, capture_output=True)
    fresh, committed = contents(tmp_path / "gen"), contents(ROOT / "gen")
    assert sorted(fresh) == sorted(committed)
    assert not [name for name in fresh if fresh[name] != committed[name]]


def test_routes_are_for_users_and_only_they() -> None:
    """A method has a REST route if and only if users may call it."""
    wrong = [
        method.full_name
        for method in methods()
        if method.GetOptions().HasExtension(annotations_pb2.http)
        != (method.GetOptions().Extensions[rules_pb2.access] != rules_pb2.ACCESS_UNSPECIFIED)
    ]
    assert methods()
    assert not wrong
