"""A study sent up in the browser, done by a worker with processes of its own; and that worker, frozen."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from ml_models import conf, runtime, tasks
from ml_models.models import EnsembleConfig, EvaluationReport, StudyJob
from ml_models.versions import files
from tests.conftest import Portraits
from tests.support.panel import page as address
from tests.support.panel import shoot
from tests.support.studies import two_people_packed
from tests.support.worker import Worker, celery_worker

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser")]

SHOWN_WITHIN_S = 40
# what a page asks for every so often, it asks for ten times as often; and it keeps what its live regions said
QUICK = """const every = window.setInterval;
window.setInterval = (callback, ms) => every(callback, ms / 10);
window.heard = [];
const hear = () => document.querySelectorAll("[role=status]").forEach((region) => window.heard.push(region.innerText));
const all = { childList: true, subtree: true };
document.addEventListener("DOMContentLoaded", () => new MutationObserver(hear).observe(document.body, all));
"""


@pytest.fixture
def worker(served: EnsembleConfig, live_server: Any, settings: Any, tmp_path: Path) -> Iterator[Worker]:
    settings.ML_MODELS = {**settings.ML_MODELS, "HEARTBEAT_S": 1.0}
    with celery_worker(tmp_path) as running:
        yield running


def start(panel: Page, config: EnsembleConfig, what: str, zipped: bytes) -> StudyJob:
    panel.goto(address("ensembleconfig", "change", config.pk))
    panel.get_by_role("link", name="Calibrate or evaluate").click()
    panel.get_by_label(what).check()
    panel.get_by_label("ZIP archive").set_input_files(
        {"name": "people.zip", "mimeType": "application/zip", "buffer": zipped}
    )
    panel.get_by_label("Whom the pictures show").fill("Two astronauts")
    panel.get_by_role("button", name="Start").click()
    return StudyJob.objects.latest("opened_at")


def test_studies_run_in_a_worker_and_a_frozen_worker_shows(
    worker: Worker, panel: Page, served: EnsembleConfig, portraits: Portraits, pictures: Path, tmp_path: Path
) -> None:
    panel.add_init_script(QUICK)
    draft, zipped = files.clone(served), two_people_packed(tmp_path, portraits)

    job = start(panel, served, "Evaluate:", zipped)
    report = panel.get_by_role("link", name="Evaluation report", exact=True)
    expect(report).to_be_visible(timeout=120_000)
    shoot(panel, pictures, "study-done")
    assert [text for text in panel.evaluate("window.heard") if "embedding" in text and "%" in text]
    linked = panel.request.get(str(report.get_attribute("href"))).text()
    assert "Two astronauts" in linked
    assert "uploaded/pairs" in linked
    job.refresh_from_db()
    assert (job.state, job.archive) == ("done", None)

    tasks.study.delay(str(job.pk))  # the queue may bring a task twice
    failed = start(panel, draft, "Calibrate:", zipped)  # by the same worker, after it
    expect(panel.get_by_role("status")).to_contain_text("cannot_calibrate", timeout=60_000)
    shoot(panel, pictures, "study-failed")
    failed.refresh_from_db()
    assert (failed.state, failed.archive) == ("failed", None)
    finished_at = job.finished_at
    job.refresh_from_db()
    assert (job.finished_at, EvaluationReport.objects.count()) == (finished_at, 1)

    runtime.report()
    panel.goto(reverse("admin:ml_models_overview"))
    silent = panel.get_by_role("link", name=re.compile("The worker .+ has been silent for"))
    expect(silent).to_have_count(0)
    period_s = int(panel.locator("[data-every-s]").get_attribute("data-every-s") or 0)
    worker.freeze()
    # three heartbeats are missed, and then the page looks again
    expect(silent).to_be_visible()
    assert 3 * conf.DEFAULTS["HEARTBEAT_S"] + period_s <= SHOWN_WITHIN_S
