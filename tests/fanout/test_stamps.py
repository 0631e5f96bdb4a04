"""How a post gets into feeds is stamped into it; fan-out goes by the stamp."""

import pytest

from fanout_svc.domain import AuthorDelivery, Delivery
from tests.fanout.conftest import AUTHOR, Fanout, created, told
from tests.fanout.ports import AWAY


@pytest.mark.parametrize("followers", [7, 95])
async def test_a_pulled_post_goes_to_its_author_only(fanout: Fanout, followers: int) -> None:
    """The post of an author who is pulled is among the author's recent ones, and nobody is pushed to."""
    fanout.deliveries.of[AUTHOR] = AuthorDelivery(Delivery.PULL, 3)
    post_id = fanout.post(AUTHOR, followers)
    async with fanout.working():
        await told(fanout, post_id, delivery=Delivery.PULL)
    assert fanout.timelines.authors == [(post_id, AUTHOR)]
    assert fanout.timelines.pushed == []
    assert await fanout.jobs.get(post_id) is None


@pytest.mark.parametrize("now", [Delivery.PUSH, Delivery.BOTH])
@pytest.mark.parametrize("followers", [7, 95])
async def test_a_pulled_post_is_pushed_when_its_author_is_pulled_no_more(fanout: Fanout, now: Delivery, followers: int) -> None:
    """Whoever turned to push after the post was stamped has it pushed, also when about to be pulled once more."""
    fanout.deliveries.of[AUTHOR] = AuthorDelivery(now, 4)
    post_id = fanout.post(AUTHOR, followers)
    async with fanout.working():
        await created(fanout, post_id, delivery=Delivery.PULL)
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)


async def test_the_author_is_asked_about_after_the_own_timeline(fanout: Fanout) -> None:
    """Only when a post is among the author's recent ones is it asked how it gets on: a reader in between finds it there."""
    fanout.post(AUTHOR, 7)
    fanout.timelines.failures.append(AWAY)
    fanout.timelines.poison.add(AUTHOR)
    async with fanout.working():
        with pytest.raises(Exception, match="poisoned"):
            await told(fanout, fanout.ids.next(), delivery=Delivery.PULL)
    assert fanout.deliveries.asked == []


@pytest.mark.parametrize("stamp", [Delivery.PUSH, Delivery.BOTH])
async def test_other_posts_are_pushed_whatever_the_author_is_now(fanout: Fanout, stamp: Delivery) -> None:
    """A post that is stamped PUSH or BOTH goes to all followers, also when the author is pulled by now; nobody is asked."""
    fanout.deliveries.of[AUTHOR] = AuthorDelivery(Delivery.PULL, 3)
    post_id = fanout.post(AUTHOR, 30)
    async with fanout.working():
        await created(fanout, post_id, delivery=stamp)
    assert fanout.timelines.times(post_id) == fanout.once(AUTHOR)
    assert fanout.deliveries.asked == []
