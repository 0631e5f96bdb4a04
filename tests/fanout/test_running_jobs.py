"""Listing the jobs that are not done, over a real table."""

from feed.fanout.v1 import fanout_service_pb2

from fanout_svc.jobs import JobRepository
from fanout_svc.servicer import FanoutServicer
from meshkit.paging import PageTokens
from tests.fanout.conftest import Fanout
from tests.fanout.tables import Finishing


async def test_running_jobs_are_listed_in_order(fanout: Fanout) -> None:
    """Running jobs come by id, from anywhere on, as many as asked for; done chunks are counted."""
    ids = [fanout.post(author, 30) for author in range(1, 41)]
    chunks = [await fanout.crash(post_id, author) for author, post_id in enumerate(ids, start=1)]
    assert await fanout.jobs.running(after=0, limit=100) == ids
    assert await fanout.jobs.running(after=ids[9], limit=5) == ids[10:15]
    await fanout.worker.deliver(chunks[0][1])
    job = await fanout.jobs.get(ids[0])
    assert job is not None
    assert set(await fanout.jobs.done_chunks(job)) == {1}


async def test_a_job_that_finishes_does_not_end_the_list(fanout: Fanout) -> None:
    """A page says that there are more also when one of its jobs finishes while they are read."""
    ids = [fanout.post(author, 3) for author in range(1, 6)]
    chunks = [await fanout.crash(post_id, author) for author, post_id in enumerate(ids, start=1)]
    jobs = JobRepository(Finishing(fanout, chunks[0]))
    servicer = FanoutServicer(jobs, fanout.steering, fanout.queue, PageTokens([b"key"]))
    shown, token, more = [], "", True
    while more:
        request = fanout_service_pb2.ListRunningJobsRequest(page_size=2, page_token=token)
        page = await servicer.ListRunningJobs(request, NotImplemented)
        shown += [job.job_id for job in page.jobs]
        token = page.next_page_token
        more = bool(token)
    assert shown == ids[1:]
