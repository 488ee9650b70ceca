"""Studies sent up in the browser, done by a worker with processes of its own; and that worker, frozen."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from ml_models import conf, runtime, tasks
from ml_models.models import EnsembleConfig, EvaluationReport, StudyJob
from ml_models.versions import files, numbers
from tests.conftest import Portraits
from tests.support.panel import QUICK, serious, shoot
from tests.support.panel import page as address
from tests.support.served import FULL_SET, ROOT
from tests.support.studies import packed, two_people_often, two_people_packed
from tests.support.worker import Worker, celery_worker

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser")]

SHOWN_WITHIN_S = 40
LONDON = ROOT.parent / "shared" / "data" / "dev_eval" / "london" / "images"


@pytest.fixture
def worker(served: EnsembleConfig, live_server: Any, settings: Any, tmp_path: Path) -> Iterator[Worker]:
    settings.ML_MODELS = {**settings.ML_MODELS, "HEARTBEAT_S": 1.0}
    with celery_worker(tmp_path) as running:
        yield running


def start(
    panel: Page, config: EnsembleConfig, what: str, zipped: bytes, people: str = "Two astronauts", *ticked: str
) -> StudyJob:
    panel.goto(address("ensembleconfig", "change", config.pk))
    panel.get_by_role("link", name="Calibrate or evaluate").click()
    panel.get_by_label(what).check()
    panel.get_by_label("ZIP archive").set_input_files(
        {"name": "people.zip", "mimeType": "application/zip", "buffer": zipped}
    )
    panel.get_by_label("Whom the pictures show").fill(people)
    for box in ticked:
        panel.get_by_label(box).check()
    panel.get_by_role("button", name="Start").click()
    return StudyJob.objects.latest("opened_at")


def tune(panel: Page, config: EnsembleConfig, target_fmr: str) -> None:
    panel.goto(address("ensembleconfig", "change", config.pk))
    panel.get_by_role("link", name="Tune its numbers").click()
    panel.get_by_label("target FMR").fill(target_fmr)
    panel.get_by_role("button", name="Save the numbers").click()


def read_report(panel: Page, people: str) -> None:
    """Follow the link of a study that is done, and read."""
    with panel.context.expect_page() as opened:  # in a tab of its own, which has no script of the test's
        panel.get_by_role("link", name="Evaluation report", exact=True).click(modifiers=["Control"], timeout=120_000)
    report = opened.value
    expect(report.get_by_role("heading", level=1)).to_contain_text("measured")
    expect(report.locator("main")).to_contain_text(people)
    expect(report.locator("main")).to_contain_text("uploaded/pairs")
    expect(report.get_by_role("img", name="DET")).to_be_visible()
    report.close()


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
    read_report(panel, "Two astronauts")
    job.refresh_from_db()
    assert (job.state, job.archive) == ("done", None)

    tasks.study.delay(str(job.pk))  # the queue may bring a task twice
    failed = start(panel, draft, "Calibrate:", zipped)  # by the same worker, after it
    expect(panel.get_by_role("status")).to_contain_text("cannot_calibrate", timeout=60_000)
    shoot(panel, pictures, "study-failed")
    failed.refresh_from_db()
    assert (failed.state, failed.archive) == ("failed", None)
    tune(panel, draft, "0.01")  # the reason says how many comparisons would do, and these are enough for that
    start(panel, draft, "Calibrate:", two_people_often(portraits))
    expect(panel.get_by_role("row", name="uploaded/pairs")).to_contain_text("324", timeout=120_000)
    shoot(panel, pictures, "study-calibrated")
    assert not serious(panel)
    calibrated = EnsembleConfig.objects.get(pk=draft.pk)
    assert numbers.fusion(calibrated).voter_sets[FULL_SET] != numbers.fusion(served).voter_sets[FULL_SET]
    assert len(calibrated.calibrated_on["subjects"]) == 2
    step = calibrated.steps.latest("at")
    assert (step.reason, str(step.by)) == ("calibrated in the panel", "operator")

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


@pytest.mark.drill
@pytest.mark.skipif(not LONDON.is_dir(), reason="the development sets are not beside the project")
def test_twenty_people_calibrate_a_version_and_twenty_others_measure_it(
    worker: Worker, panel: Page, served: EnsembleConfig, pictures: Path
) -> None:
    names = sorted({path.name[:3] for path in LONDON.iterdir()})
    draft = files.clone(served)
    tune(panel, draft, "0.01")
    start(panel, draft, "Calibrate:", volunteers(names[::2]), "Volunteers in a studio")
    expect(panel.get_by_role("row", name="uploaded/pairs")).to_contain_text("760", timeout=120_000)

    job = start(panel, draft, "Evaluate:", volunteers(names[1::2]), "Others of them", "Evaluate every picture")
    read_report(panel, "Others of them")
    shoot(panel, pictures, "study-of-volunteers")
    job.refresh_from_db()
    assert job.report
    assert (job.report.data["mated"], job.report.data["non_mated"]) == (20, 760)


def volunteers(names: list[str]) -> bytes:
    lines = [f"1,{name}_neutral.jpg,{name}_smiling.jpg" for name in names]
    lines += [f"0,{a}_neutral.jpg,{b}_neutral.jpg" for a, b in itertools.pairwise(names)]
    images = {f"images/{name}_{face}.jpg" for name in names for face in ("neutral", "smiling")}
    return packed(
        **{"pairs.csv": "\n".join(["same,a,b", *lines]).encode()},
        **{image: (LONDON.parent / image).read_bytes() for image in images},
    )
