"""Saturating a server with h2load, a load generator in C that leaves the processor to who is measured."""

from __future__ import annotations  # some of gRPC's classes are generic only to type checkers

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from meshkit.process import ChildError

PREFIX_BYTES = 5
_TOOK = 2
_RATE = re.compile(r"finished in [\d.]+\w+, ([\d.]+) req/s")
_STATUSES = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_REQUESTS = re.compile(r"requests: .*? (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored")
_DATA = re.compile(r"\((\d+)\) data")


@dataclass(frozen=True, slots=True)
class Target:
    """A request to repeat. `answer_bytes` is the size that every answer must have: gRPC tells of failures with status 200."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    answer_bytes: int | None = None


def grpc_target(address: str, method: str, request: bytes, answer: bytes, headers: Mapping[str, str]) -> Target:
    """Make a unary gRPC call a request to repeat."""
    framed = b"\0" + len(request).to_bytes(4) + request
    return Target(
        f"http://{address}{method}",
        {**headers, "content-type": "application/grpc", "te": "trailers"},
        framed,
        len(answer) + PREFIX_BYTES,
    )


async def call(address: str, method: str, request: bytes, headers: Mapping[str, str]) -> bytes:
    """Make a unary gRPC call once, and give the answer's bytes."""
    async with grpc.aio.insecure_channel(address) as channel:
        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            method, request_serializer=None, response_deserializer=None
        )
        return await unary(request, metadata=tuple(headers.items()), timeout=10)


async def saturate(target: Target, seconds: float, *, connections: int = 4, streams: int = 8) -> float:
    """Keep `connections` times `streams` requests under way for a while, and give the requests answered a second.

    Raises ChildError when any failed, or none was answered.
    """
    arguments = [f"--clients={connections}", f"--max-concurrent-streams={streams}", f"--duration={round(seconds * 1_000)}ms"]
    with tempfile.TemporaryDirectory() as folder:
        return _rate(await _run(arguments, target, Path(folder)), target, connections * streams)


async def one_by_one(target: Target, requests: int) -> list[float]:
    """Send requests over one connection, each when the one before is answered, and give how long each took, in seconds.

    Raises ChildError when any failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        arguments = ["--clients=1", "--max-concurrent-streams=1", f"--requests={requests}", f"--log-file={log}"]
        _rate(await _run(arguments, target, Path(folder)), target, 0)
        return [int(line.split("\t")[_TOOK]) / 1e6 for line in log.read_text().splitlines()]


async def _run(arguments: Sequence[str], target: Target, folder: Path) -> str:
    headers = [f"--header={name}: {value}" for name, value in target.headers.items()]
    if target.body:
        body = folder / "body"
        body.write_bytes(target.body)
        headers.append(f"--data={body}")
    try:
        running = await asyncio.create_subprocess_exec("h2load", *arguments, *headers, target.url, stdout=asyncio.subprocess.PIPE)
    except FileNotFoundError:
        raise ChildError("h2load is not installed: run scripts/install-bench-tools") from None
    output, _ = await running.communicate()
    return output.decode()


def _rate(report: str, target: Target, under_way: int) -> float:
    rate, statuses, data, requests = (pattern.search(report) for pattern in (_RATE, _STATUSES, _DATA, _REQUESTS))
    if not (rate and statuses and data and requests):
        raise ChildError(f"h2load did not report: {report}")
    good, *bad = (int(count) for count in statuses.groups())
    if not good or any(bad) or int(requests[3]) > under_way:
        raise ChildError(f"not every request to {target.url} was answered well: {report}")
    # Those that were under way at the end have a part of their answers counted.
    if target.answer_bytes and not 0 <= int(data[1]) - good * target.answer_bytes <= under_way * target.answer_bytes:
        raise ChildError(f"an answer of {target.url} has another size than expected: {report}")
    return float(rate[1])
