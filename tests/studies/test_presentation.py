"""evaluate_presentation, calibrate_presentation: a manifest's pictures through a version's own pipeline."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ml_models.models import EnsembleConfig, PresentationReport
from ml_models.studies import loading
from ml_models.versions import evidence, files
from tests.conftest import Portraits
from tests.support.pictures import encoded, faceless, opened
from tests.support.served import ensemble, publish_presentation, write

pytestmark = pytest.mark.django_db

HEAD = "file,subject,session,camera,kind\n"
# every logit over it is a person's
PASSIVE = {"presentation": "fr_liveness", "liveness": {"passive": {"a": 1.0, "b": 0.0, "threshold": -50.0}}}


@pytest.fixture
def version(served: EnsembleConfig, tmp_path: Path) -> EnsembleConfig:
    return files.load(write(tmp_path, ensemble(3, **PASSIVE)))[0]


@pytest.fixture
def folder(tmp_path: Path, portraits: Portraits) -> Path:
    (tmp_path / "a.jpg").write_bytes(portraits.eileen_collins)
    (tmp_path / "b.jpg").write_bytes(portraits.grace_hopper)
    (tmp_path / "small.jpg").write_bytes(encoded(opened(portraits.eileen_collins).resize((250, 250))))
    (tmp_path / "nobody.jpg").write_bytes(encoded(faceless()))
    return tmp_path


def run(folder: Path, lines: str, *options: str, version: int = 3, command: str = "evaluate_presentation") -> str:
    manifest = folder / "manifest.csv"
    manifest.write_text(lines)
    out = io.StringIO()
    call_command(command, str(manifest), "--config", str(version), *options, stdout=out)
    return out.getvalue()


def test_each_picture_is_taken_as_a_verify_takes_it(version: EnsembleConfig, folder: Path) -> None:
    lines = (
        HEAD
        + "a.jpg,one,,door,bona_fide\nsmall.jpg,one,2,door,bona_fide\nb.jpg,two,,bus,print\nnobody.jpg,two,,bus,print\n"
    )
    stricter = {**PASSIVE, "liveness": {"passive": {"a": 1.0, "b": 0.0, "threshold": 50.0}}}
    files.load(write(folder, ensemble(4, **stricter)))
    options = ("--json", "--against", "4", "--output", str(folder / "report"))
    report: dict[str, Any] = json.loads(run(folder, lines, *options))
    changes = report["against"]["changes"]
    assert [(change["what"], change["first"], change["second"]) for change in changes] == [
        ("BPCER", 0.5, 0.0),
        ("APCER of print", 0.0, 0.5),
    ]
    assert (report["config"], report["subjects"], report["sessions"]) == (3, 2, 3)
    assert report["digest"] == evidence.liveness_digest(version)
    assert report["bona_fide"]["error"]["value"] == 0.0
    assert report["bona_fide"]["non_response"]["value"] == 0.5  # too small to tell
    assert report["species"]["print"]["error"]["value"] == 0.5
    assert report["species"]["print"]["non_response"]["value"] == 0.5  # no face
    assert set(report["cameras"]) == {"door", "bus"}
    kept = PresentationReport.objects.get(config=version)
    assert (kept.config, kept.digest, kept.data["species"]) == (version, report["digest"], report["species"])
    assert [line["met"] for line in report["evidence"]] == [False, False, True, False, False]
    page = (folder / "report" / "presentation.html").read_text()
    assert "print (APCER)" in page
    assert "a virtual camera; a live face swap; a mask" in page
    assert "✗ 1 people shown to the attack detector of at least 40" in page
    assert "Against version 4" in page
    assert "a.jpg" not in page
    again = run(folder, lines)
    assert "print, 2: APCER 50.000%" in again
    assert "✗ 1 people shown to the attack detector of at least 40" in again
    assert PresentationReport.objects.get(config=version).pk == kept.pk  # the same pictures again replace it
    assert PresentationReport.objects.count() == 2


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("file,subject,kind\n", "lacks the column session, camera"),
        (HEAD + "gone.jpg,one,,,bona_fide\n", "line 2: there is no such file"),
        (HEAD + "../a.jpg,one,,,bona_fide\n", "line 2: there is no such file"),
        (HEAD + "a.jpg,,,,bona_fide\n", "line 2: a subject"),
        (HEAD + "a.jpg,one,,,A print!\n", "line 2: a subject"),
        (HEAD + "a.jpg,one,,,bona_fide\n", "at least one attack"),
        (HEAD + "a.jpg,one,,,print\n", "rows of bona_fide"),
    ],
)
def test_a_manifest_that_says_too_little_is_refused(
    version: EnsembleConfig, folder: Path, lines: str, says: str
) -> None:
    with pytest.raises(CommandError, match=says):
        run(folder, lines)


def test_a_version_without_the_network_has_nothing_to_measure(version: EnsembleConfig, folder: Path) -> None:
    with pytest.raises(CommandError, match="no network that looks for presentation attacks"):
        run(folder, HEAD + "a.jpg,one,,,bona_fide\nb.jpg,two,,,print\n", version=2)


def test_numbers_are_fitted_and_those_they_were_fitted_on_prove_nothing(version: EnsembleConfig, folder: Path) -> None:
    lines = HEAD + "a.jpg,one,,,bona_fide\nb.jpg,two,,,print\nnobody.jpg,three,,,bona_fide\n"
    other = files.load(write(folder, ensemble(4, **PASSIVE)))[0]
    options = ("--json", "--output", str(folder / "v3.yaml"))
    fitted = json.loads(run(folder, lines, *options, command="calibrate_presentation"))
    assert (fitted["subjects"], fitted["bona_fide"], fitted["attacks"], fitted["left_out"]) == (2, 1, 1, 1)
    version.refresh_from_db()
    passive = version.liveness["passive"]
    assert passive["a"] == fitted["a"] > 0
    assert len(passive["subjects"].split()) == 2
    assert files.load(folder / "v3.yaml")[1] == "unchanged"
    report = json.loads(run(folder, lines, "--json"))
    assert report["bona_fide"]["error"]["value"] == 0.0  # the one person shown is just accepted
    assert "2 of the people measured were used" in report["evidence"][1]["says"]
    elsewhere = json.loads(run(folder, lines.replace("one", "1").replace("two", "2"), "--json"))
    assert elsewhere["evidence"][1] == {
        "met": True,
        "says": "None of the people measured was used to calibrate the attack detector.",
    }

    assert (
        json.loads(run(folder, lines, "--json", command="calibrate_presentation"))["threshold"] == fitted["threshold"]
    )
    swapped = lines.replace("print", "-").replace("bona_fide", "print").replace("-", "bona_fide")
    with pytest.raises(CommandError, match="no higher logits"):
        run(folder, swapped, version=4, command="calibrate_presentation")
    with pytest.raises(CommandError, match="large enough"):
        run(folder, HEAD + "a.jpg,one,,,bona_fide\nnobody.jpg,two,,,print\n", command="calibrate_presentation")
    other.refresh_from_db()
    assert other.liveness == PASSIVE["liveness"]


def test_of_several_networks_the_mean_is_fitted_and_measured(
    version: EnsembleConfig, folder: Path, portraits: Portraits
) -> None:
    publish_presentation(folder)
    pair = {**PASSIVE, "presentation": ["fr_liveness", "minifasnet"]}
    config = files.load(write(folder, ensemble(5, **pair)))[0]
    lines = HEAD + "a.jpg,one,,,bona_fide\nb.jpg,two,,,print\n"
    fitted = json.loads(run(folder, lines, "--json", version=5, command="calibrate_presentation"))
    person = loading.pipeline(config).extract(portraits.eileen_collins).presentation
    alone = loading.pipeline(version).extract(portraits.eileen_collins).presentation
    assert person
    assert alone
    assert abs(person.logit - alone.logit) > 1
    # the one person shown lies just over the threshold
    assert fitted["a"] * person.logit + fitted["b"] == pytest.approx(fitted["threshold"], abs=0.01)
    report = json.loads(run(folder, lines, "--json", "--against", "3", version=5))
    config.refresh_from_db()
    assert report["digest"] == evidence.liveness_digest(config) != evidence.liveness_digest(version)
    assert report["against"]["version"] == 3


def test_numbers_of_a_version_that_is_no_draft_are_written_to_a_file_alone(
    version: EnsembleConfig, folder: Path
) -> None:
    lines = HEAD + "a.jpg,one,,,bona_fide\nb.jpg,two,,,print\n"
    EnsembleConfig.objects.filter(pk=version.pk).update(state="validated")
    with pytest.raises(CommandError, match="cannot change"):
        run(folder, lines, command="calibrate_presentation")
    run(folder, lines, "--output", str(folder / "v9.yaml"), command="calibrate_presentation")
    version.refresh_from_db()
    assert version.liveness == PASSIVE["liveness"]
    assert "subjects:" in (folder / "v9.yaml").read_text()
