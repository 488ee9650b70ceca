"""Studies that the panel starts: pictures sent up, measured by a worker, and gone."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client

from ml_models import tasks
from ml_models.models import EnsembleConfig, StudyJob
from ml_models.services import NOBODY, studies
from ml_models.studies import jobs
from tests.conftest import Portraits
from tests.support.panel import page, told
from tests.support.served import ensemble, write
from tests.support.studies import packed, two_people_packed

pytestmark = pytest.mark.django_db


@pytest.fixture
def archive(tmp_path: Path, portraits: Portraits) -> bytes:
    return two_people_packed(tmp_path, portraits)


@pytest.fixture
def desk(grant: Any, django_user_model: Any) -> Callable[..., Client]:
    def made(*rights: str) -> Client:
        name = f"staff{django_user_model.objects.count()}"
        client = Client()
        client.force_login(grant(django_user_model.objects.create_user(name, is_staff=True), *rights))
        return client

    return made


def start(client: Client, config: EnsembleConfig, archive: bytes, **said: str) -> Any:
    file = SimpleUploadedFile("people.zip", archive, "application/zip")
    return client.post(page("ensembleconfig", "study", config.pk), {"archive": file, **said}, follow=True)


def test_an_evaluation_is_started_in_the_panel_and_its_report_is_linked(
    served: EnsembleConfig, archive: bytes, desk: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr("ml_models.tasks.study.apply_async", lambda args, **_: queued.append(*args))
    operator = desk("view_ensembleconfig", "view_studyjob", "view_evaluationreport", "run_study")
    answer = start(operator, served, archive, kind="evaluate", people="Two astronauts", all_pairs="on")
    job = StudyJob.objects.get()
    assert queued == [str(job.pk)]
    assert "It waits for a worker." in answer.text
    assert b"pairs.csv" not in bytes(job.archive or b"")
    seen: list[str] = []
    say = jobs._Watcher.say

    def hear(watcher: Any, text: str) -> None:
        seen.append(text)
        say(watcher, text)

    monkeypatch.setattr(jobs._Watcher, "say", hear)

    assert jobs.run(job.pk)
    assert not jobs.run(job.pk)

    job.refresh_from_db()
    assert (job.state, job.archive, job.reason) == ("done", None, "")
    assert "embedding: 100 %" in seen
    assert job.report
    assert job.report.measured_on["people"] == "Two astronauts"
    shown = operator.get(page("studyjob", "change", job.pk)).text
    assert page("evaluationreport", "html", job.report.pk) in shown
    assert "Finished 20" in shown
    assert list(Path("/dev/shm").glob("ml_models-study-*")) == []  # noqa: S108


def test_a_calibration_fits_a_draft_or_says_why_it_cannot(
    served: EnsembleConfig, archive: bytes, tmp_path: Path, desk: Callable[..., Client]
) -> None:
    operator = desk("view_ensembleconfig", "view_studyjob", "run_study")
    assert "only a draft is calibrated" in told(start(operator, served, archive, kind="calibrate"))
    call_command("load_ensemble", str(write(tmp_path, ensemble(3))))
    draft = EnsembleConfig.objects.get(version=3)
    start(operator, draft, archive, kind="calibrate")
    job = StudyJob.objects.get()
    assert jobs.run(job.pk)
    job.refresh_from_db()
    # two people are too few for honest numbers
    assert (job.state, job.archive) == ("failed", None)
    assert re.match(r"\w+: ", job.reason)
    assert job.reason in operator.get(page("studyjob", "change", job.pk)).text.replace("&#x27;", "'")


def test_what_is_no_archive_of_pictures_is_refused(
    served: EnsembleConfig, archive: bytes, desk: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = desk("view_ensembleconfig", "view_studyjob", "run_study")
    for data, why in (
        (b"no archive", "no ZIP archive"),
        (packed(**{"images/a.jpg": b""}), "no pairs.csv at its top"),
        (packed(**{"pairs.csv": b"", "../a.jpg": b""}), "lead out of it"),
        (packed(**{"pairs.csv": b"", "/a.jpg": b""}), "lead out of it"),
    ):
        assert why in told(start(operator, served, data, kind="evaluate"))
    monkeypatch.setattr(studies, "MAX_UNPACKED_BYTES", 10)
    assert "when unpacked" in told(start(operator, served, archive, kind="evaluate"))
    assert "Choose what to do" in told(start(operator, served, archive))
    assert not StudyJob.objects.exists()
    refused = start(desk("view_ensembleconfig", "change_ensembleconfig"), served, archive, kind="evaluate")
    assert (refused.status_code, "run_study" in refused.text) == (403, True)


def test_what_cannot_be_unpacked_is_said_to_be_so_and_no_persons_file_is_named(
    served: EnsembleConfig, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    whole = packed(**{"pairs.csv": b"", "images/tom.jpg": bytes(5000)})
    content = whole.index(b"images/tom.jpg") + len(b"images/tom.jpg")
    for damaged in (
        whole[:content] + b"\xff" * 4 + whole[content + 4 :],
        whole.replace(b"images/tom.jpg", b"images/tim.jpg", 1),
        packed(**{"pairs.csv": b"", "images/tom.jpg": b"", "images/tom.jpg/a": b""}),
        packed(**{"pairs.csv": b"", f"images/tom{'m' * 300}.jpg": b""}),
    ):
        job = studies.open_study(served, "evaluate", damaged, NOBODY)
        assert jobs.run(job.pk)
        job.refresh_from_db()
        assert (job.state, job.archive) == ("failed", None)
        assert "damaged, or cannot be unpacked" in job.reason
        assert "tom" not in job.reason + caplog.text + "".join(capfd.readouterr())


def test_one_study_runs_at_a_time_and_one_whose_worker_ended_is_given_up(
    served: EnsembleConfig, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr("ml_models.tasks.study.apply_async", lambda args, **_: queued.append(*args))
    first, second = (studies.open_study(served, "evaluate", archive, NOBODY) for _ in range(2))
    StudyJob.objects.filter(pk=first.pk).update(state="running", seen_at=Now())
    assert not jobs.run(second.pk)
    tasks.tick()
    assert queued == []
    StudyJob.objects.filter(pk=first.pk).update(seen_at=Now() - studies.SILENT * 2)
    tasks.tick()
    first.refresh_from_db()
    assert (first.state, first.archive) == ("failed", None)
    assert "Its worker ended" in first.reason
    assert queued == [str(second.pk)]
    done: list[Any] = []
    monkeypatch.setattr(jobs, "run", done.append)
    monkeypatch.setattr(tasks, "connections", SimpleNamespace(close_all=lambda: None))
    tasks.study(queued[0])
    for thread in threading.enumerate():
        if thread.name == "ml_models-study":
            thread.join()
    assert done == [second.pk]
    jobs._finish(first.pk, state="done")  # its worker was only slow
    first.refresh_from_db()
    assert first.state == "failed"
