"""Opening a study on pictures that were sent up, and looking after the open ones. `ml_models.studies` does it."""

from __future__ import annotations

import io
import stat
import uuid
import zipfile
from datetime import timedelta
from pathlib import PurePosixPath

from django.db.models.functions import Now

from .. import crypto
from ..exceptions import ConfigChanged, InvalidRequest
from ..models import EnsembleConfig, StudyJob, actor_id
from .callers import Caller

State = StudyJob.State

MAX_ARCHIVE_BYTES = 32 * 1024**2
"""Less than MAX_REQUEST_BYTES. What is larger takes the command, on a machine that has the pictures."""
MAX_FILES = 5_000
MAX_UNPACKED_BYTES = 256 * 1024**2
LIST, ATTRIBUTES = "pairs.csv", "people.csv"
# a worker shows every few seconds that it lives
SILENT = timedelta(seconds=90)


def open_study(
    config: EnsembleConfig,
    kind: str,
    archive: bytes,
    caller: Caller,
    people: str = "",
    all_pairs: bool = False,
    stressed: bool = False,
) -> StudyJob:
    """Queue a study. The archive is encrypted before it is stored, and deleted when the study is over.

    Args:
        archive: a ZIP file with `pairs.csv` (same,a,b), the pictures that it names, and perhaps `people.csv`.

    Raises:
        ConfigChanged: only a draft is calibrated.
        InvalidRequest: the archive is none, has too much in it, or no list.
    """
    if kind == StudyJob.Kind.CALIBRATE and config.state != EnsembleConfig.State.DRAFT:
        raise ConfigChanged(f"Version {config.version} is {config.state}: only a draft is calibrated. Clone it.")
    contents(archive)
    pk = uuid.uuid4()
    return StudyJob.objects.create(
        pk=pk,
        config=config,
        kind=kind,
        people=people,
        all_pairs=all_pairs,
        stressed=stressed,
        archive=crypto.seal_archive(pk, archive),
        by_id=actor_id(caller.account),
    )


def contents(archive: bytes) -> list[zipfile.ZipInfo]:
    """The files of an archive. Raises: InvalidRequest"""
    if len(archive) > MAX_ARCHIVE_BYTES:
        raise InvalidRequest(f"The archive has more than {MAX_ARCHIVE_BYTES:,} bytes: run the command instead.")
    try:
        files = [entry for entry in zipfile.ZipFile(io.BytesIO(archive)).infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, ValueError) as error:
        raise InvalidRequest("This is no ZIP archive, or a damaged one.") from error
    if len(files) > MAX_FILES or sum(entry.file_size for entry in files) > MAX_UNPACKED_BYTES:
        raise InvalidRequest(
            f"The archive has more than {MAX_FILES:,} files, or more than {MAX_UNPACKED_BYTES:,} bytes when unpacked."
        )
    if any(not _is_plain(entry) for entry in files):
        raise InvalidRequest("The archive has links, encrypted files, or names that lead out of it.")
    if LIST not in {entry.filename for entry in files}:
        raise InvalidRequest(f"The archive has no {LIST} at its top: same,a,b, with paths of pictures in the archive.")
    return files


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    path, mode = PurePosixPath(entry.filename.replace("\\", "/")), entry.external_attr >> 16
    leads_out = path.is_absolute() or ".." in path.parts or ":" in entry.filename
    return not (leads_out or entry.flag_bits & 1 or stat.S_ISLNK(mode))


def waiting() -> StudyJob | None:
    """The next study to be done; None while one runs."""
    if StudyJob.objects.filter(state=State.RUNNING).exists():
        return None
    return StudyJob.objects.filter(state=State.QUEUED).defer("archive").order_by("opened_at").first()


def give_up_silent() -> int:
    """Fail the studies whose worker has ended. Returns: how many."""
    return StudyJob.objects.filter(state=State.RUNNING, seen_at__lt=Now() - SILENT).update(
        state=State.FAILED, reason="Its worker ended. Start it again.", archive=None, finished_at=Now()
    )
