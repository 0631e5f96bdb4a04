"""What `feedmesh up` prints: two users to try the mesh with, and lines to paste."""

import asyncio
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from uuid import uuid4

from cli.client import ALREADY_EXISTS, NOT_FOUND, Client
from cli.parts import Mesh
from cli.transport import ApiError, Patience

_PATIENCE = Patience(try_s=5, call_s=30)
_TOKEN_LIFETIME = timedelta(days=7)
# Whoever looks up a name must be somebody; any user may.
_SOMEBODY = 1


async def prepare_demo(mesh: Mesh, data_dir: Path) -> str:
    """Make the users `writer` and `reader`, unless they are there, and give the text that shows how to go on."""
    async with Client.connect(mesh.url, connections=2, patience=_PATIENCE) as client:
        writer, reader = await asyncio.gather(*(_ensure_user(client, mesh, name) for name in ("writer", "reader")))
    return _text(mesh, data_dir, writer, reader)


async def _ensure_user(client: Client, mesh: Mesh, username: str) -> int:
    token = mesh.issuer.user_token(_SOMEBODY)
    try:
        return int((await client.lookup_user(username, token=token)).user_id)
    except ApiError as error:
        if error.code != NOT_FOUND:
            raise
    try:
        return await client.create_user(username, display_name="", request_id=uuid4().hex)
    except ApiError as error:
        if error.code != ALREADY_EXISTS:
            raise
    return int((await client.lookup_user(username, token=token)).user_id)


def _text(mesh: Mesh, data_dir: Path, writer: int, reader: int) -> str:
    where = "" if data_dir == Path(".feedmesh") else f" --data-dir {data_dir}"
    url = "" if mesh.url == "http://127.0.0.1:8080" else f" --url {mesh.url}"
    feedmesh = ".venv/bin/feedmesh"
    send = "-H 'content-type: application/json' -d"
    as_reader = '-H "authorization: Bearer $READER"'
    as_writer = '-H "authorization: Bearer $WRITER"'
    timeline = mesh.services.addresses["timeline"][0]
    method = "feed.timeline.v1.TimelineService/GetHomeTimeline"
    services = ", ".join(f"{name} {' '.join(addresses)}" for name, addresses in mesh.services.addresses.items())
    engines = "\n        ".join(f"{name}, private: {url}" for name, url in mesh.services.engines.items())
    return dedent(f"""
        Feedmesh is running. Two users are there to try it with; in another terminal, paste their tokens (good for a week):

        WRITER={mesh.issuer.user_token(writer, lifetime=_TOKEN_LIFETIME)}
        READER={mesh.issuer.user_token(reader, lifetime=_TOKEN_LIFETIME)}

        and then: reader follows writer, writer posts, reader reads.

        curl {mesh.url}/v1/follows {as_reader} {send} '{{"followee_id": "{writer}"}}'
        curl {mesh.url}/v1/posts {as_writer} {send} '{{"content": "Hello, feed!"}}'
        curl {mesh.url}/v1/feed {as_reader}

        Your own user, and a token for it:

        curl {mesh.url}/v1/users {send} '{{"username": "ada_lovelace"}}'
        {feedmesh} token ada_lovelace{where}{url}

        All routes: {mesh.url}/openapi.json
        {engines}
        gRPC, with reflection: {services}

        grpcurl -plaintext {as_reader} {timeline} {method}
        buf curl --protocol grpc --http2-prior-knowledge {as_reader} -d '{{}}' http://{timeline}/{method}

        A whole community: {feedmesh} seed{where}{url}, and then {feedmesh} verify{where}{url}
        Ctrl-C stops everything; the data stays in {data_dir}/.
    """).rstrip()
