"""Thin shells around the domain functions; the missing rows are the truth, the queue carries hints."""

import logging
from threading import Thread
from typing import Any
from uuid import UUID

from celery import current_app, shared_task
from django.db import connections
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError as QueueDown

from . import rollouts
from .exceptions import NotReady
from .rollouts import backfill
from .services import chain, duplicate_searches, overview, retention, studies

logger = logging.getLogger(__name__)


# for a queue that says nothing: a request waits this long for it, and not as long as a worker does
PATIENCE_S = 1.0
_IMPATIENT = {"socket_connect_timeout": PATIENCE_S, "socket_timeout": PATIENCE_S, "max_retries": 0}


@shared_task(name="ml_models.tick")
def tick() -> None:
    """Move an open rollout on, begin the next study and the searches for duplicates: every few seconds from beat, and
    after each chunk."""
    _hand_out()


def _hand_out(**options: Any) -> None:
    studies.give_up_silent()
    if job := studies.waiting():
        study.apply_async((str(job.pk),), **options)
    for group in duplicate_searches.waiting():
        find_duplicates.apply_async((str(group),), **options)
    for chunk in rollouts.advance():
        embed_chunk.apply_async((str(chunk),), **options)


def nudge() -> bool:
    """Begin now what the next tick would; False when the queue does not answer within PATIENCE_S, and beat's tick will
    have to."""
    try:
        with current_app.connection_for_write(connect_timeout=PATIENCE_S, transport_options=_IMPATIENT) as queue:
            _hand_out(connection=queue)
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
