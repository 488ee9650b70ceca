"""A study of the panel's, done by a worker: its pictures lie in memory and are gone afterwards."""

from __future__ import annotations

import io
import logging
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from lzma import LZMAError
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connections, transaction
from django.db.models.functions import Now

from .. import crypto, selectors
from ..engine.errors import EngineError
from ..evaluation.errors import StudyRefused
from ..evaluation.pictures.stress import STRESSES
from ..exceptions import InvalidRequest, ServiceError
from ..models import ConfigStep, EnsembleConfig, StudyJob
from ..services import admission
from ..services.studies import ATTRIBUTES, LIST, contents
from .calibrating import calibrate
from .evaluating import UNKNOWN_PEOPLE, Measurement, evaluate
from .pictures import Sources

logger = logging.getLogger(__name__)
State = StudyJob.State

_BEAT_S = 5.0
# a file system in memory: no face lies on a disk
_MEMORY = Path("/dev/shm")  # noqa: S108 - each study makes a folder of its own there, for its user alone
# what unpacking raises over damaged data, names that a file system does not take, and a full memory
_NOT_UNPACKED = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, RuntimeError)


def run(job_id: UUID) -> bool:
    """Do a queued study. Returns: whether it was this call that did it; a second one does nothing.

    An error of the study is its `reason`, and the archive is gone whatever happens.
    """
    if not _claimed(job_id):
        return False
    job = StudyJob.objects.select_related("config").get(pk=job_id)
    try:
        with _alive(job_id), _unpacked(job) as folder:
            outcome = _done(job, folder)
    except (StudyRefused, ServiceError, EngineError) as error:
        outcome = {"state": State.FAILED, "reason": f"{error.code}: {error}"}
    except BaseException as error:
        _finish(job_id, state=State.FAILED, reason=f"{type(error).__name__}: the worker's log says more.")
        raise
    _finish(job_id, **outcome)
    return True


def _claimed(job_id: UUID) -> bool:
    """Whether the study is ours: it was queued, and no other one runs."""
    queued = StudyJob.objects.filter(pk=job_id, state=State.QUEUED)
    try:
        with transaction.atomic():
            return bool(queued.update(state=State.RUNNING, seen_at=Now()))
    except IntegrityError:
        return False


def _finish(job_id: UUID, **outcome: Any) -> None:
    # one that was given up meanwhile stays so
    running = StudyJob.objects.filter(pk=job_id, state=State.RUNNING)
    running.update(**outcome, archive=None, finished_at=Now())


@contextmanager
def _alive(job_id: UUID) -> Iterator[None]:
    """Show that the worker lives: fitting says nothing for minutes."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT_S):
            StudyJob.objects.filter(pk=job_id, state=State.RUNNING).update(seen_at=Now())
        connections.close_all()

    thread = threading.Thread(target=beat, name="ml_models-study-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _unpacked(job: StudyJob) -> Iterator[Path]:
    archive = crypto.open_archive(job.pk, bytes(job.archive or b""))
    with TemporaryDirectory(prefix="ml_models-study-", dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        # the report names a list by its folder
        folder = Path(name) / "uploaded"
        _extract(archive, folder)
        yield folder


def _extract(archive: bytes, folder: Path) -> None:
    """Raises: InvalidRequest"""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as pack:
            for entry in contents(archive):
                pack.extract(entry, folder)
    except _NOT_UNPACKED:
        # without its cause, which names a file of a person's, and would be logged
        raise InvalidRequest("A file of the archive is damaged, or cannot be unpacked. Pack it again.") from None


def _done(job: StudyJob, folder: Path) -> dict[str, Any]:
    config, watcher = selectors.get_config(job.config.version), _Watcher(job.pk)
    images, attributes = folder / "images", folder / ATTRIBUTES
    sources = Sources(
        [(folder / LIST, images if images.is_dir() else folder)],
        attributes=[attributes] if attributes.is_file() else (),
        stresses=list(STRESSES) if job.stressed else (),
        stress_images=200 if job.kind == StudyJob.Kind.CALIBRATE else None,
        turn=partial(admission.admitted, admission.EMBED),
    )
    if job.kind == StudyJob.Kind.CALIBRATE:
        fitted = calibrate(config, sources, watcher)
        draft = EnsembleConfig.State.DRAFT
        reason = "calibrated in the panel"
        ConfigStep.objects.create(config=config, from_state=draft, to_state=draft, by_id=job.by_id, reason=reason)
        return {"state": State.DONE, "progress": "", "figures": fitted["lists"]}
    evaluate(config, Measurement(sources, job.all_pairs, people=job.people or UNKNOWN_PEOPLE), watcher)
    report = config.reports.order_by("-created_at").first()
    return {"state": State.DONE, "progress": "", "report": report}


class _Watcher:
    """Writes how far a study is, once a percent."""

    def __init__(self, job_id: UUID) -> None:
        self._row = StudyJob.objects.filter(pk=job_id, state=State.RUNNING)

    def say(self, text: str) -> None:
        self._row.update(progress=text[:200], seen_at=Now())

    def progress(self, what: str) -> Callable[[int, int], None]:
        shown = -1

        def report(done: int, total: int) -> None:
            nonlocal shown
            if (percent := 100 * done // max(total, 1)) != shown:
                shown = percent
                self.say(f"{what}: {percent} %")

        return report
