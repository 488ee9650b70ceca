"""Thin shells around the domain functions; the missing rows are the truth, the queue carries hints."""

import logging
from threading import Thread
from uuid import UUID

from celery import shared_task
from django.db import connections
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError as QueueDown

from . import rollouts
from .exceptions import NotReady
from .rollouts import backfill
from .services import chain, duplicate_searches, overview, retention, studies

logger = logging.getLogger(__name__)


@shared_task(name="ml_models.tick")
def tick() -> None:
    """Move an open rollout on, begin the next study and the searches for duplicates: every few seconds from beat, and
    after each chunk."""
    studies.give_up_silent()
    if job := studies.waiting():
        study.delay(str(job.pk))
    for group in duplicate_searches.waiting():
        find_duplicates.delay(str(group))
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


@shared_task(name="ml_models.study", acks_late=False)
def study(job_id: str) -> None:
    """Do a study of the panel's, in a thread: it takes minutes to hours, and this worker has rollouts to go on with."""
    Thread(target=_study, args=(UUID(job_id),), name="ml_models-study", daemon=True).start()


def _study(job_id: UUID) -> None:
    # by its path: the web server imports this module, and what measures versions is none of its business
    run = import_string("ml_models.studies.jobs.run")
    try:
        run(job_id)
    finally:
        connections.close_all()


@shared_task(name="ml_models.remove_expired")
def remove_expired() -> None:
    """Delete what is older than it may be: every few minutes from beat."""
    if removed := retention.remove_expired():
        logger.info("removed %d rows older than RETENTION_DAYS", removed)


@shared_task(name="ml_models.find_duplicates")
def find_duplicates(group_id: str) -> None:
    """Compare a group's members with each other, where somebody asked for it."""
    duplicate_searches.run(UUID(group_id))
