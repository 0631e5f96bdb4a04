"""Dead letters on RabbitMQ: shown, and put back."""

import asyncio
import secrets

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from meshkit.errors import OverloadedError, UnavailableError
from meshkit.queue.port import DeadLetter
from meshkit.queue.rabbitmq_link import BROKER_ERRORS, Link, channel_on
from meshkit.queue.rabbitmq_message import Envelope
from meshkit.queue.rabbitmq_publisher import Publisher
from meshkit.queue.rabbitmq_topology import Topology

_BATCH = 100
_ANSWER_SECONDS = 10.0  # for all letters of a batch together


async def shown(link: Link, queue: str, limit: int) -> list[DeadLetter]:
    """Give a queue's oldest messages, which stay: they are handed back in the end. A queue that is not there has none."""
    try:
        async with link.connected() as connection, channel_on(connection) as channel, asyncio.timeout(_ANSWER_SECONDS):
            letters = await _taken(channel, queue, limit)
            await _hand_back(channel, letters)
    except aiormq.ChannelNotFoundEntity:
        return []
    except BROKER_ERRORS as error:
        raise UnavailableError("RabbitMQ does not answer; try again", reason="QUEUE_UNAVAILABLE") from error
    return [member.dead_letter for letter in letters for member in Envelope.read(letter).members()][:limit]


async def redriven(link: Link, publisher: Publisher, topology: Topology, name: str) -> int:
    """Move dead letters into the work queue, as many as there is room for, and count them.

    Those that come back meanwhile are known by their mark, and stay: the broker's own count would be a little behind.
    """
    mark, moved = secrets.token_hex(4), 0
    try:
        async with link.connected() as connection, channel_on(connection) as channel:
            while True:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    letters = await _taken(channel, topology.dead(name), _BATCH)
                    count = await _moved(channel, publisher, topology.queue(name), letters, mark)
                moved += count
                if count < _BATCH:
                    return moved
    except aiormq.ChannelNotFoundEntity:
        return moved
    except BROKER_ERRORS as error:
        raise UnavailableError("RabbitMQ does not answer; try again", reason="QUEUE_UNAVAILABLE") from error


async def _taken(channel: AbstractChannel, queue: str, limit: int) -> list[DeliveredMessage]:
    letters: list[DeliveredMessage] = []
    while len(letters) < limit:
        letter = await channel.basic_get(queue)
        if not isinstance(letter.delivery, spec.Basic.GetOk):
            break
        letters.append(letter)
    return letters


async def _hand_back(channel: AbstractChannel, letters: list[DeliveredMessage]) -> None:
    if letters:
        await channel.basic_nack(letters[-1].delivery_tag or 0, multiple=True, requeue=True)


async def _moved(channel: AbstractChannel, publisher: Publisher, queue: str, letters: list[DeliveredMessage], mark: str) -> int:
    """Acknowledge a letter when the broker has confirmed it elsewhere; a crash in between gives a duplicate."""
    moving = [letter for letter in letters if Envelope.read(letter).redrive != mark]
    outcomes = await asyncio.gather(
        *(publisher.publish("", queue, Envelope.read(letter).afresh(mark)) for letter in moving), return_exceptions=True
    )
    for letter, outcome in zip(moving, outcomes, strict=True):
        if outcome is None:
            await channel.basic_ack(letter.delivery_tag or 0)
    for outcome in outcomes:
        if outcome is not None and not isinstance(outcome, OverloadedError):
            raise outcome
    count = outcomes.count(None)
    if count < len(letters):
        await _hand_back(channel, letters)
    return count
