"""The calls of the media service that several test modules make, and uploads as clients make them."""

import aiohttp
from feed.post.v1 import media_pb2
from feed.post.v1 import media_service_pb2 as pb

from tests.rpc.client import Stubs, Tokens

Media = media_pb2.Media
PICTURE = b"\xff\xd8\xff picture"
JPEG, MP4 = "image/jpeg", "video/mp4"


class MediaCalls:
    """The media service, called as any user."""

    def __init__(self, connected: Stubs, tokens: Tokens) -> None:
        self.stubs = connected
        self.tokens = tokens

    async def create(
        self, user: int, content_type: str = JPEG, size: int = len(PICTURE), *, request_id: str = "", as_user: int = 0
    ) -> pb.CreateMediaResponse:
        """Announce media."""
        request = pb.CreateMediaRequest(content_type=content_type, size_bytes=size, request_id=request_id, user_id=as_user)
        return await self.stubs.media.CreateMedia(request, metadata=self.tokens.user(user))

    async def get(self, user: int, media_id: int) -> Media:
        """Give media."""
        return (await self.stubs.media.GetMedia(pb.GetMediaRequest(media_id=media_id), metadata=self.tokens.user(user))).media

    async def complete(self, user: int, media_id: int) -> Media:
        """Complete an upload."""
        request = pb.CompleteMediaRequest(media_id=media_id)
        return (await self.stubs.media.CompleteMedia(request, metadata=self.tokens.user(user))).media

    async def send(self, upload: media_pb2.Upload, body: bytes = PICTURE) -> int:
        """Upload as told; give the status."""
        async with (
            aiohttp.ClientSession() as http,
            http.request(upload.method, upload.url, data=body, headers=dict(upload.headers)) as answer,
        ):
            return answer.status

    async def read(self, url: str) -> tuple[int, str, bytes]:
        """Give status, type and body of what anybody can read."""
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            return answer.status, answer.headers["Content-Type"], await answer.read()

    async def ready(self, user: int, content_type: str = JPEG) -> str:
        """Go the whole way, and give the URL that posts take."""
        created = await self.create(user, content_type)
        assert await self.send(created.upload) == 200
        return (await self.complete(user, created.media.media_id)).media_url
