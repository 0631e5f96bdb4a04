"""A proxy in front of a server that speaks DynamoDB: it counts calls, and does to them what networks and busy servers do."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from aiohttp import web

from meshkit.aws import Access


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way. The body may be changed before it is forwarded, as long as the server does not check signatures."""

    operation: str
    body: dict[str, Any]
    forward: Callable[[], Awaitable[dict[str, Any]]]


class LostError(Exception):
    """Raised by a fault: the connection is cut without an answer."""


class RefusedError(Exception):
    """Raised by a fault: the call is answered with an error."""

    def __init__(self, code: str, status: int = 400, **details: object) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "arn:aws:secret detail", **details}


Fault = Callable[[Call], Awaitable[dict[str, Any] | None]]
"""Gives a call's answer, or None to have it forwarded untouched."""


@dataclass(slots=True)
class Proxy:
    """What passed, by operation, and the fault that is done to what passes."""

    access: Access
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fault: Fault | None = None
    stop: Callable[[], Awaitable[None]] | None = None

    def operations(self) -> list[str]:
        """Give the operations that were called, in order."""
        return [operation for operation, _ in self.calls]


@asynccontextmanager
async def proxy_to(target: Access, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy for the length of a block; with TLS if that is given."""
    async with aiohttp.ClientSession() as session:
        proxy = Proxy(target)

        async def handle(request: web.Request) -> web.StreamResponse:
            raw = await request.read()

            async def forward() -> dict[str, Any]:
                # The host that was signed goes along.
                async with session.post(str(target.endpoint_url), data=raw, headers=request.headers) as answer:
                    content: dict[str, Any] = await answer.json(content_type=None)
                    if answer.status != 200:
                        raise RefusedError(content.pop("__type").rpartition("#")[2], answer.status, **content)
                    return content

            call = Call(request.headers["X-Amz-Target"].rpartition(".")[2], json.loads(raw), forward)
            proxy.calls.append((call.operation, call.body))
            try:
                answer = await proxy.fault(call) if proxy.fault else None
                return web.json_response(await forward() if answer is None else answer)
            except RefusedError as refusal:
                return web.json_response(refusal.body, status=refusal.status)
            except LostError:
                assert request.transport
                request.transport.abort()
                return web.Response()

        app = web.Application(client_max_size=2**24)
        app.router.add_post("/", handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            host = f"localhost:{runner.addresses[0][1]}"
            proxy.access = replace(target, endpoint_url=f"{'https' if tls else 'http'}://{host}")
            proxy.stop = runner.cleanup
            yield proxy
        finally:
            await runner.cleanup()
