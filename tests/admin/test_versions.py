"""What an operator does with versions in the panel."""

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from django.test import Client

from backend_easy import celery_app
from ml_models import rollouts, runtime, tasks
from ml_models.admin import EnsembleConfigAdmin
from ml_models.exceptions import RolloutRefused
from ml_models.models import (
    Artifact,
    ConfigStep,
    Embedding,
    EnsembleConfig,
    Erasure,
    EvaluationReport,
    Reference,
    Rollout,
    RolloutChunk,
    Subject,
)
from ml_models.rollouts import backfill
from ml_models.versions import evidence, files
from tests.support.blackhole import Blackhole, blackhole
from tests.support.panel import page, press, told
from tests.support.served import ensemble, publish_presentation, write
from tests.support.work import work_off

pytestmark = pytest.mark.django_db


def state_of(version: int) -> str:
    return EnsembleConfig.objects.get(version=version).state


def finish() -> None:
    """The chunks that were handed out when the rollout was opened, then the rest."""
    runtime.refresh()
    for chunk in RolloutChunk.objects.values_list("pk", flat=True):
        backfill.embed_chunk(chunk)
    work_off()


def test_validate_activate_and_roll_back(operator: Client, draft: EnsembleConfig, people: list[str]) -> None:
    assert "can be activated" in told(press(operator, "ensembleconfig", "validate", draft.pk))
    opened = press(operator, "ensembleconfig", "activate", draft.pk)
    rollout = Rollout.objects.get(config=draft)
    assert opened.redirect_chain[-1][0] == page("rollout", "change", rollout.pk)
    assert not rollout.hold_for_approval
    finish()
    assert (state_of(2), state_of(3)) == ("retired", "active")

    back = press(operator, "ensembleconfig", "rollback", draft.pk)
    assert "Version 2 is active again" in told(back)
    assert (state_of(2), state_of(3)) == ("active", "retired")
    by = ConfigStep.objects.filter(config=draft, to_state="rolling_out").get().by
    assert by is not None
    history = operator.get(page("ensembleconfig", "history", draft.pk))
    assert [str(step) for step in history.context["steps"]] == [str(step) for step in draft.steps.all()]
    assert by.username in history.text
    assert "rolled back" in history.text

    def says() -> tuple[bool, bool]:
        pages = (page("rollout", "change", rollout.pk), page("rollout", "changelist"))
        in_both = {"rolled back" in operator.get(url).text for url in pages}
        assert len(in_both) == 1
        return in_both.pop(), "Return to version 3" in back.text

    assert says() == (True, True)
    returned = operator.get(page("ensembleconfig", "rollback", EnsembleConfig.objects.get(version=2).pk))
    assert returned.context["title"] == "Return to version 3 from version 2"
    back = press(operator, "ensembleconfig", "rollback", EnsembleConfig.objects.get(version=2).pk)
    assert "Version 3 is active again" in told(back)
    assert says() == (False, False)
    assert "Return to version 2" not in operator.get(page("ensembleconfig", "change", draft.pk)).text


def test_the_history_is_for_who_may_see_versions(staff: Any, draft: EnsembleConfig) -> None:
    url = page("ensembleconfig", "history", draft.pk)
    assert staff("view_ensembleconfig").get(url).status_code == 200
    assert staff("view_rollout").get(url).status_code == 403
    looker = staff("view_ensembleconfig", "view_artifact")
    assert url in looker.get(page("ensembleconfig", "change", draft.pk)).text
    # a file has none, and leads to none
    assert "/history/" not in looker.get(page("artifact", "change", draft.detector_id)).text


def test_the_rollback_page_says_how_many_people_it_cannot_verify_yet(
    operator: Client, draft: EnsembleConfig, people: list[str]
) -> None:
    rollouts.validate(draft)
    rollouts.open_rollout(rollouts.get_config(3))
    finish()
    url, what = page("ensembleconfig", "rollback", draft.pk), "People who cannot be verified"
    facts = [value for name, value in operator.get(url).context["asked"].facts if name.startswith(what)]
    assert facts == ["0"]
    assert "Embeddings owed to it" in operator.get(url).text
    old = backfill.spaces_of(rollouts.get_config(2))
    Embedding.objects.filter(reference__subject__subject_id="child-1", space=min(old)).delete()
    assert "<dd>1</dd>" in operator.get(url).text
    assert "Version 2 is active again" in told(press(operator, "ensembleconfig", "rollback", draft.pk))


def test_the_activation_page_says_what_it_costs(
    operator: Client, validated: EnsembleConfig, people: list[str], settings: Any
) -> None:
    url = page("ensembleconfig", "activate", validated.pk)
    first = operator.get(url)
    assert first.context["title"] == "Activate version 3 in place of version 2"
    assert [(line.what, line.this, line.other) for line in first.context["asked"].differences] == [
        ("Flip averaging", "yes", "no")
    ]
    settings.ML_MODELS = {**settings.ML_MODELS, "SECOND_PERSON": True}
    for_two = operator.get(url).context["asked"]
    assert (for_two.ticks, "somebody else gives the Go" in for_two.says) == ([], True)
    missing = [line.says for line in first.context["asked"].evidence if not line.met]
    assert missing == evidence.missing(rollouts.get_config(3))
    assert first.text.count("✗</b>") == len(missing) > 0
    assert [str(value) for _, value in operator.get(url).context["asked"].facts][:2] == ["2", "6"]
    # timed at the validation: three networks, two faces, each with its mirror image
    timed = validated.members.values_list("artifact__seconds_per_face", flat=True)
    assert all(seconds is not None and 0 < seconds < 5 for seconds in timed)
    Artifact.objects.update(seconds_per_face=10.0)
    assert "about 2 minutes with one worker" in operator.get(url).text
    Artifact.objects.update(seconds_per_face=None)
    assert "have not been timed" in operator.get(url).text


def test_a_version_that_lacks_nothing_costs_nothing(operator: Client, draft: EnsembleConfig) -> None:
    rollouts.validate(draft)
    assert "none: it goes live" in operator.get(page("ensembleconfig", "activate", draft.pk)).text


def test_hold_for_approval_waits_for_go(operator: Client, validated: EnsembleConfig, people: list[str]) -> None:
    press(operator, "ensembleconfig", "activate", validated.pk, hold_for_approval="on")
    finish()
    rollout = Rollout.objects.get(config=validated)
    assert rollout.state == "awaiting_approval"
    press(operator, "rollout", "go", rollout.pk)
    assert state_of(3) == "active"


def test_every_reason_against_a_version_is_a_message(operator: Client, served: EnsembleConfig, tmp_path: Path) -> None:
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, voter_sets={}))))
    Artifact.objects.filter(name="sface_2021dec").update(commercial_use="forbidden")
    answer = press(operator, "ensembleconfig", "validate", EnsembleConfig.objects.get(version=3).pk)
    assert "No threshold is set" in told(answer)
    assert "validate it" in told(answer)
    assert state_of(3) == "draft"


def test_a_second_rollout_is_refused_with_what_to_do(
    operator: Client, validated: EnsembleConfig, people: list[str]
) -> None:
    other = files.clone(validated)
    rollouts.validate(rollouts.get_config(other.version))
    rollouts.open_rollout(validated)
    answer = press(operator, "ensembleconfig", "activate", other.pk)
    assert "Version 3 is rolling out. Wait for it, or abort it first." in told(answer)


def test_rolling_back_a_version_that_is_not_active_any_more_is_refused(
    operator: Client, validated: EnsembleConfig
) -> None:
    rollouts.open_rollout(validated)
    finish()
    rollouts.roll_back()
    rollouts.open_rollout(rollouts.get_config(3))
    finish()
    old = EnsembleConfig.objects.get(version=2)
    assert "Version 3 is active, not 2" in told(press(operator, "ensembleconfig", "rollback", old.pk))
    page_of_old = operator.get(page("ensembleconfig", "rollback", old.pk), follow=True)
    assert "not possible any more" in told(page_of_old)


def test_one_click_clones_a_version_to_the_next_draft(operator: Client, served: EnsembleConfig) -> None:
    answer = press(operator, "ensembleconfig", "clone", served.pk)
    draft = rollouts.get_config(3)
    assert (draft.state, answer.redirect_chain[-1][0]) == ("draft", page("ensembleconfig", "change", draft.pk))
    exported, copied = files.export(served), files.export(draft)
    assert {**copied, "version": 2} == exported
    assert ConfigStep.objects.get(config=draft).reason == "cloned from version 2"


def test_the_exported_file_loads_into_the_draft(operator: Client, served: EnsembleConfig, tmp_path: Path) -> None:
    press(operator, "ensembleconfig", "clone", served.pk)
    draft = EnsembleConfig.objects.get(version=3)
    data = yaml.safe_load(operator.get(page("ensembleconfig", "export", draft.pk)).content)
    call_command("load_ensemble", str(write(tmp_path, {**data, "target_fmr": 0.002})))
    draft.refresh_from_db()
    assert draft.target_fmr == 0.002


def test_a_drafts_name_and_notes_can_be_changed_and_a_served_versions_cannot(
    operator: Client, draft: EnsembleConfig
) -> None:
    changed = {"name": "better", "notes": "why"}
    assert operator.post(page("ensembleconfig", "change", draft.pk), changed).status_code == 302
    draft.refresh_from_db()
    assert (draft.name, draft.notes) == ("better", "why")
    served = EnsembleConfig.objects.get(version=2)
    assert operator.post(page("ensembleconfig", "change", served.pk), changed).status_code == 403


def test_saving_a_drafts_name_does_not_undo_its_validation(
    operator: Client, draft: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = EnsembleConfigAdmin.save_model

    def late(*args: Any) -> None:
        rollouts.validate(rollouts.get_config(3))  # another operator, between our read and our write
        save(*args)

    monkeypatch.setattr(EnsembleConfigAdmin, "save_model", late)
    answer = operator.post(page("ensembleconfig", "change", draft.pk), {"name": "late", "notes": ""}, follow=True)
    assert (state_of(3), "no draft any more" in told(answer)) == ("validated", True)


def test_the_pages_tell_members_evidence_licences_and_the_difference(operator: Client, draft: EnsembleConfig) -> None:
    listed = operator.get(page("ensembleconfig", "changelist")).text
    assert "not measured" in listed
    assert "other embeddings: arcface_int8, mobilefacenet_192, sface_2021dec" in listed
    rate = {"value": 0.0008, "low": 0.0005, "high": 0.0012}
    EvaluationReport.objects.create(config=draft, digest="0" * 64, data={"fmr": rate, "fnmr": rate, "subjects": 310})
    text = operator.get(page("ensembleconfig", "change", draft.pk)).text
    assert "FMR 0.080 % (0.050–0.12)" in text
    assert "310 subjects" in text
    for artifact in Artifact.objects.filter(memberships__config=draft):
        assert artifact.sha256 in text
        assert artifact.citation[:40] in text


def test_attack_detectors_stand_among_the_networks_and_in_the_comparison(
    operator: Client, draft: EnsembleConfig, tmp_path: Path, settings: Any
) -> None:
    publish_presentation(tmp_path)
    looking = {"presentation": ["fr_liveness", "minifasnet"], "liveness": {"passive": {"a": 1.0, "threshold": 2.5}}}
    config, _ = files.load(write(tmp_path, ensemble(3, **looking)))
    shown = operator.get(page("ensembleconfig", "change", config.pk))
    assert [(line.what, line.this, line.other) for line in shown.context["lines"] if line.differs] == [
        ("Attack detector", "fr_liveness + minifasnet", "none"),
        ("Liveness, passive", "a 1, threshold 2.5", "–"),
    ]
    for name in looking["presentation"]:
        assert Artifact.objects.get(name=name).sha256 in shown.text
    settings.ML_MODELS = {**settings.ML_MODELS, "NONCOMMERCIAL": True}
    EnsembleConfig.objects.filter(state="active").update(state="retired")
    EnsembleConfig.objects.filter(pk=config.pk).update(state="active")
    assert "fr_liveness, minifasnet, mobilefacenet_192" in operator.get(page("artifact", "changelist")).text


def test_the_comparison_tells_a_shared_condition_in_words(
    operator: Client, served: EnsembleConfig, tmp_path: Path
) -> None:
    member, *_ = ensemble(3)["members"]
    dimension = Artifact.objects.get(name=member["artifact"]).contract["dimension"]
    glasses = {
        "name": "glasses",
        "sides": "shared",
        "both_margin": 5.0,
        "offset": -1.0,
        "directions": {member["artifact"]: base64.b64encode(bytes(2 * dimension)).decode()},
        "centres": {},
        "members": {},
        "voter_sets": {},
    }
    config, _ = files.load(write(tmp_path, ensemble(3, conditions=[glasses])))
    shown = operator.get(page("ensembleconfig", "change", config.pk))
    assert [(line.what, line.this, line.other) for line in shown.context["lines"] if line.differs] == [
        ("Face glasses on both sides", "thresholds rise by up to 5", "–")
    ]
    paired = {**glasses, "pair": {"by": "eyewear", "another": 0.4, "same": 0.6}}
    members = [*ensemble(3)["members"], {"artifact": "eyewear", "weight": 0.0}]
    files.load(write(tmp_path, ensemble(3, members=members, conditions=[paired])))
    lines = operator.get(page("ensembleconfig", "change", config.pk)).context["lines"]
    assert {(line.what, line.this) for line in lines if line.differs} == {
        ("Face glasses on both sides", "thresholds rise by up to 5, for the same pair alone"),
        ("eyewear", "tells one pair of glasses from another, without a vote"),
    }
    # a draft may hold anything
    EnsembleConfig.objects.filter(pk=config.pk).update(conditions=[{"sides": "shared", "both_margin": None}])
    assert operator.get(page("ensembleconfig", "change", config.pk)).status_code == 200


def test_the_banner_says_what_stands_in_and_on_which_terms(
    operator: Client, served: EnsembleConfig, settings: Any
) -> None:
    url = page("ensembleconfig", "changelist")
    settings.ML_MODELS = {**settings.ML_MODELS, "NONCOMMERCIAL": True}
    text = operator.get(url).text
    assert "declares itself non-commercial" in text
    assert "SFace (sface_2021dec) stands in" in text
    Artifact.objects.filter(name="sface_2021dec").update(family="adaface")
    settings.ML_MODELS = {**settings.ML_MODELS, "NONCOMMERCIAL": False}
    text = operator.get(url).text
    assert "stands in" not in text
    assert "declares itself" not in text


def test_a_report_is_shown_without_any_right_to_act(operator: Client, served: EnsembleConfig) -> None:
    report = EvaluationReport.objects.create(config=served, digest="0" * 64, data={}, html="<h1>DET</h1>")
    answer = operator.get(page("evaluationreport", "html", report.pk))
    assert (answer.text, answer["Content-Security-Policy"].split(";")[0]) == ("<h1>DET</h1>", "sandbox")


def test_failed_references_are_listed_for_enrolment(
    operator: Client, validated: EnsembleConfig, people: list[str], settings: Any
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "FAILURES_ALLOWED": 0.5}
    Reference.objects.filter(subject__subject_id="child-1").update(chip=b"damaged")
    rollout = rollouts.open_rollout(validated)
    finish()
    facts = operator.get(page("rollout", "progress", rollout.pk)).json()
    assert [item["text"] for item in facts["failures"]] == ["decryption failed: 1"]
    text = operator.get(facts["failures"][0]["url"]).text
    assert "child-1" in text
    assert "child-2" not in text


def test_a_lever_that_fits_no_more_is_refused(operator: Client, validated: EnsembleConfig) -> None:
    rollout = rollouts.open_rollout(validated)
    rollouts.abort(rollout)
    assert "The rollout is not embedding" in told(press(operator, "rollout", "pause", rollout.pk))
    with pytest.raises(RolloutRefused):
        rollouts.pause(rollouts.get_rollout(rollout.pk))


@pytest.mark.parametrize("goes", [Blackhole.swallow, Blackhole.refuse], ids=["says nothing", "refuses"])
def test_a_button_does_not_wait_for_a_queue_that_is_gone_and_what_it_began_goes_on(
    operator: Client,
    validated: EnsembleConfig,
    people: list[str],
    monkeypatch: pytest.MonkeyPatch,
    goes: Callable[[Blackhole], None],
) -> None:
    url = urlsplit(settings.CELERY_BROKER_URL)
    with blackhole("127.0.0.1", url.port or 0) as proxy:
        place, at, _ = url.netloc.rpartition("@")
        through = url._replace(netloc=f"{place}{at}127.0.0.1:{proxy.port}").geturl()
        monkeypatch.setitem(celery_app.conf, "broker_write_url", through)
        goes(proxy)
        began = time.monotonic()
        answer = press(operator, "ensembleconfig", "activate", validated.pk)
        assert time.monotonic() - began < 3 * tasks.PATIENCE_S
        assert "task queue does not answer" in told(answer)
        rollout = Rollout.objects.get(config=validated)
        assert rollout.state == "embedding"
        proxy.restore()
        RolloutChunk.objects.all().delete()  # as if their lease had expired
        assert tasks.nudge()
        assert rollout.chunks.exists()


def test_somebody_is_erased_through_the_service(operator: Client, people: list[str]) -> None:
    subject = Subject.objects.get(subject_id="child-1")
    reference = Subject.objects.get(subject_id="child-2").references.get()
    assert "Erased with 1 references" in told(press(operator, "subject", "erase", subject.pk))
    assert Erasure.objects.get().by is not None
    press(operator, "reference", "erase", reference.pk)
    assert not Reference.objects.exists()
    assert Subject.objects.count() == 1
