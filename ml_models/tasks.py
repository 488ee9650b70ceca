"""Thin shells around the domain functions; the missing rows are the truth, the queue carries hints."""

import logging
from uuid import UUID

from celery import shared_task
from kombu.exceptions import OperationalError as QueueDown

from . import rollouts
from .exceptions import NotReady
from .rollouts import backfill
from .services import chain, overview, retention

logger = logging.getLogger(__name__)


@shared_task(name="ml_models.tick")
def tick() -> None:
    """Move an open rollout on: every few seconds from beat, and after each chunk."""
    for chunk in rollouts.advance():
        embed_chunk.delay(str(chunk))


def nudge() -> bool:
    """Begin now what the next tick would; False when the queue does not answer, and beat's tick will have to."""
    try:
        tick()
    except QueueDown as error:
        logger.warning("the task queue does not answer (%s): the next tick tries again", type(error).__name__)
        return False
    return True


@shared_task(name="ml_models.audit")
def audit() -> None:
    """Chain the audit events that came meanwhile, and delete some whose time is over: every few seconds from beat."""
    chain.chain_all()
    chain.prune()
    overview.ran(overview.CHAIN)


@shared_task(name="ml_models.embed_chunk")
def embed_chunk(chunk_id: str) -> None:
    """Embed what a chunk's references lack, then ask for more."""
    try:
        backfill.embed_chunk(UUID(chunk_id))
    except NotReady:
        return  # the bucket is down, or a file is bad: beat's tick finds the reason or hands the chunk out again
    nudge()


@shared_task(name="ml_models.remove_expired")
def remove_expired() -> None:
    """Delete what is older than it may be: every few minutes from beat."""
    if removed := retention.remove_expired():
        logger.info("removed %d rows older than RETENTION_DAYS", removed)
