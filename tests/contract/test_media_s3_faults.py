"""What the S3 engine does when S3 is slow, gone, or says no."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from structlog.testing import capture_logs

from meshkit.aws import Access, open_client
from meshkit.errors import OverloadedError, UnavailableError
from meshkit.media.port import Arrived, NotUploadedError, Stored
from meshkit.media.s3 import open_s3
from meshkit.sockets import free_port
from tests.contract.media import Client, bucket, is_copy, proxy_to, s3_server, said

BODY = b"GIF89a picture"
GIF = Stored("image/gif", len(BODY))
UPLOAD, KEY = "uploads/7/12.gif", "media/7/12-0a1b2c.gif"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def access(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Access]:
    """Run one server for all tests."""
    async with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Give an HTTP client."""
    async with aiohttp.ClientSession() as http:
        yield Client(http)


class Hold:
    """Holds copies up until they may go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = asyncio.Semaphore(0)

    async def fault(self, request: web.Request) -> web.Response | None:
        """Hold a call up if it is a copy."""
        if is_copy(request):
            self.begun.release()
            await self.go_on.wait()
        return None


async def test_a_bucket_that_does_not_answer_is_no_reason_not_to_start(tmp_path: Path) -> None:
    """Without S3 the store opens, and its calls fail in time as unavailable."""
    nobody = Access("us-east-1", f"http://127.0.0.1:{free_port()}", "KEY", "SECRET")
    async with open_s3(bucket(nobody, tmp_path), public_url="") as store:
        for call in (store.arrived(UPLOAD, GIF), store.publish(Arrived(UPLOAD, GIF, "x"), KEY), store.discard(KEY)):
            with pytest.raises(UnavailableError, match="does not answer; try again"):
                await call


async def test_a_server_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A call ends at its deadline, whatever the server does."""
    hanging = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hanging.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        silent = Access("us-east-1", f"http://127.0.0.1:{port}", "KEY", "SECRET")
        async with asyncio.timeout(10), open_s3(bucket(silent, tmp_path), public_url="", deadline=0.1) as store:
            with pytest.raises(UnavailableError):
                await store.arrived(UPLOAD, GIF)
        hanging.set()


@pytest.mark.parametrize(
    ("code", "status", "level"),
    [("KMS.DisabledException", 400, "error"), ("AccessDenied", 403, "error"), ("SlowDown", 503, "warning")],
)
async def test_what_s3_says_is_for_the_log(
    access: Access, client: Client, tmp_path: Path, code: str, status: int, level: str
) -> None:
    """A refusal is logged with S3's code and message, and told without either."""

    async def refuses(request: web.Request) -> web.Response | None:
        return said(code, status) if is_copy(request) or request.method == "DELETE" else None

    async with proxy_to(access) as proxy, open_s3(bucket(proxy.access, tmp_path), public_url="") as store:
        assert await client.put(await store.presign_put(UPLOAD, GIF, 60), BODY) == 200
        arrived = await store.arrived(UPLOAD, GIF)
        proxy.fault = refuses
        for call in (store.publish(arrived, KEY), store.discard(UPLOAD)):
            with capture_logs() as logs, pytest.raises(UnavailableError) as told:
                await call
            assert (told.value.message, told.value.reason) == ("the media store cannot do it; try again", "MEDIA_FAILED")
            (log,) = [log for log in logs if log["event"] == "the media store refused a call"]
            assert (log["code"], log["message"], log["log_level"]) == (code, "arn:aws:secret detail", level)


async def test_a_lost_bucket_is_no_missing_upload(access: Access, tmp_path: Path) -> None:
    """When the bucket is gone nobody is told to upload again: the store is unavailable, and the log says why."""
    where = bucket(access, tmp_path)
    async with (
        open_s3(where, public_url="") as store,
        open_client("s3", access, read_timeout=5, connections=1, s3={"addressing_style": "path"}) as s3,
    ):
        with pytest.raises(NotUploadedError):
            await store.arrived(UPLOAD, GIF)
        await s3.delete_bucket(Bucket=where.bucket)
        with capture_logs() as logs:
            for call in (store.arrived(UPLOAD, GIF), store.publish(Arrived(UPLOAD, GIF, "x"), KEY)):
                with pytest.raises(UnavailableError):
                    await call
    assert [log["log_level"] for log in logs] == ["error", "error"]


async def test_a_copy_has_time_for_its_size(access: Access, client: Client, tmp_path: Path) -> None:
    """A copy of 8 MiB still goes on when another call, which began no earlier, is given up."""
    large = Stored("image/gif", 8 * 2**20)

    async def holds(request: web.Request) -> web.Response | None:
        if is_copy(request):
            with pytest.raises(UnavailableError):
                await store.arrived(UPLOAD, large)
        elif request.path.endswith(UPLOAD):
            await asyncio.Event().wait()
        return None

    async with proxy_to(access) as proxy, open_s3(bucket(proxy.access, tmp_path), public_url="", deadline=1) as store:
        assert await client.put(await store.presign_put(UPLOAD, large, 60), bytes(large.size)) == 200
        arrived = await store.arrived(UPLOAD, large)
        proxy.fault = holds
        await store.publish(arrived, KEY)
        assert (await client.read(f"{store.public_url}/{KEY}"))[2] == bytes(large.size)


async def test_a_publication_goes_on_without_its_caller(access: Access, client: Client, tmp_path: Path) -> None:
    """When a caller's time is over the copy goes on; repeats join it or find it done, and it is made once."""
    hold = Hold()
    async with proxy_to(access) as proxy, open_s3(bucket(proxy.access, tmp_path), public_url="") as store:
        assert await client.put(await store.presign_put(UPLOAD, GIF, 60), BODY) == 200
        arrived = await store.arrived(UPLOAD, GIF)
        proxy.fault = hold.fault
        gone = asyncio.ensure_future(store.publish(arrived, KEY))
        await hold.begun.acquire()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert await store.arrived(UPLOAD, GIF) == arrived  # by now S3 would have seen a call that is given up
        again = asyncio.ensure_future(store.publish(arrived, KEY))
        hold.go_on.set()
        await again
        await store.publish(arrived, KEY)
        assert (await client.read(f"{store.public_url}/{KEY}"))[2] == BODY
        assert proxy.copies == 1


async def test_copies_at_once_are_bounded(access: Access, client: Client, tmp_path: Path) -> None:
    """Of more copies at once than there is room for, some are refused as too many, other calls go on, and later all are taken."""
    hold = Hold()
    async with proxy_to(access) as proxy, open_s3(bucket(proxy.access, tmp_path), public_url="") as store:
        assert await client.put(await store.presign_put(UPLOAD, GIF, 60), BODY) == 200
        arrived = await store.arrived(UPLOAD, GIF)
        proxy.fault = hold.fault
        publishing = [asyncio.ensure_future(store.publish(arrived, f"media/7/12-{number}.gif")) for number in range(50)]
        for _ in publishing:
            await hold.begun.acquire()
        with pytest.raises(OverloadedError):
            await store.publish(arrived, KEY)
        assert await store.arrived(UPLOAD, GIF) == arrived
        hold.go_on.set()
        await asyncio.gather(*publishing)
        await store.publish(arrived, KEY)
