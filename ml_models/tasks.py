"""Thin shells around the domain functions; the missing rows are the truth, the queue carries hints."""

from uuid import UUID

from celery import shared_task

from . import backfill, rollouts
from .exceptions import NotReady, RolloutRefused


@shared_task(name="ml_models.tick")
def tick() -> None:
    """Move an open rollout on: every few seconds from beat, and after each chunk."""
    try:
        chunks = rollouts.advance()
    except RolloutRefused:
        return  # a process is not ready yet, or another worker was faster: the next tick looks again
    for chunk in chunks:
        embed_chunk.delay(str(chunk))


@shared_task(name="ml_models.embed_chunk")
def embed_chunk(chunk_id: str) -> None:
    """Embed what a chunk's references lack, then ask for more."""
    try:
        backfill.embed_chunk(UUID(chunk_id))
    except NotReady:
        return  # the bucket is down, or a file is bad: the tick finds the reason and leases the chunk again
    tick()
