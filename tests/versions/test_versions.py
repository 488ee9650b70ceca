"""A version's life: load, validate, activate, roll back."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from ml_models import rollouts, runtime
from ml_models.exceptions import ConfigInvalid, RolloutRefused
from ml_models.models import Artifact, ConfigStep, Embedding, EnsembleConfig, Rollout
from ml_models.rollouts import backfill
from ml_models.versions import evidence, files, numbers
from tests.conftest import Portraits
from tests.support.served import CALIBRATION, DETECTOR, EMBEDDERS, FULL_SET, RULE, activate, ensemble, write
from tests.support.uploads import enroll, verify
from tests.support.work import work_off

pytestmark = pytest.mark.django_db
TWO = "arcface_int8+mobilefacenet_192"


PASSIVE = {"a": 1.0, "b": 0.0, "threshold": 0.0}
LIVENESS = {"passive": PASSIVE}


def two_members(version: int = 3, **changes: Any) -> dict[str, Any]:
    members = [
        {"artifact": name, "weight": weight, "calibration": CALIBRATION}
        for name, weight in (("mobilefacenet_192", 0.43), ("arcface_int8", 0.57))
    ]
    return ensemble(version, **{"members": members, "voter_sets": {TWO: RULE}, **changes})


def vector(dimension: int, value: float = 0.0) -> str:
    return base64.b64encode(np.full(dimension, value, "<f2").tobytes()).decode()


CONDITION = {
    "name": "covered",
    "directions": {"mobilefacenet_192": vector(192)},
    "offset": 1.0,
    "centres": {"arcface_int8": {"probes": vector(512, 0.25), "references": vector(512)}},
    "members": {"arcface_int8": {"a": 12.0, "b": -2.0, "d": 0.0, "low": 0.0, "high": 0.0}},
    "voter_sets": {
        "arcface_int8": {"a": 1.0, "b": 0.0, "trust": {"arcface_int8": 1.0}, "threshold": 3.0, "review_threshold": 1.0}
    },
}


def condition(**changes: Any) -> dict[str, Any]:
    return two_members(conditions=[{**CONDITION, **changes}])


def load(folder: Path, data: dict[str, Any]) -> EnsembleConfig:
    call_command("load_ensemble", str(write(folder, data)))
    return EnsembleConfig.objects.get(version=data["version"])


def test_loading_the_same_file_twice_changes_nothing(served: EnsembleConfig, tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path, two_members())
    call_command("load_ensemble", str(path))
    call_command("load_ensemble", str(path))
    assert "created" in (out := capsys.readouterr().out)
    assert "unchanged" in out
    assert ConfigStep.objects.filter(config__version=3).count() == 1


def test_an_edited_draft_is_updated_and_a_served_version_is_not(served: EnsembleConfig, tmp_path: Path) -> None:
    load(tmp_path, two_members())
    assert load(tmp_path, two_members(name="better")).name == "better"
    with pytest.raises(CommandError, match="config_changed"):
        load(tmp_path, ensemble(2, name="sneaky"))
    assert EnsembleConfig.objects.get(version=2).name == "test"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"members": [{"artifact": "arcface_int8", "weight": 0.9, "calibration": CALIBRATION}]}, "sum to 0.9"),
        ({"members": [{"artifact": "nobody", "weight": 1.0}]}, "nobody is not published"),
        ({"members": [{"artifact": "arcface_int8", "weight": 1.0, "colour": "RGB"}]}, "a member has"),
        ({"detector": "nothing"}, "nothing is not published"),
        ({"surprise": 1}, "surprise is not known"),
        ({"version": "two"}, "whole number"),
        ({"quality_limits": {"verify": {"min_magic": 1}}}, "min_magic"),
        ({"conditions": ["mask"]}, "conditions are what calibrate writes"),
        ({"conditions": {"name": "covered"}}, "conditions are what calibrate writes"),
        ({"quality_limits": {"verfy": {"min_face_px": 60}}}, "not verfy"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_that_is_not_an_ensemble_is_refused(
    served: EnsembleConfig, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({**two_members(), **changes}))
    with pytest.raises(CommandError, match=says):
        call_command("load_ensemble", str(path))
    assert not EnsembleConfig.objects.filter(version=3).exists()


def test_what_holds_in_a_condition_travels_with_the_version(served: EnsembleConfig, tmp_path: Path) -> None:
    config = load(tmp_path, condition())
    (fitted,) = numbers.fusion(config).conditions
    assert fitted.centroids["arcface_int8"].inside == (0.25,) * 512
    # a file of before both sides were classified decides as ever, and keeps its digest
    assert (fitted.sides, fitted.both_margin) == ("probes", 0.0)
    assert numbers.to_json(numbers.fusion(config))["conditions"] == [CONDITION]
    for version in (config, files.clone(config)):
        assert files.export(version)["conditions"] == [CONDITION]
    rollouts.validate(config)
    config.refresh_from_db()
    config.conditions = []
    with pytest.raises(ValidationError, match="clone"):
        config.save()
    # what an edited draft's file no longer says, the draft does not say either
    draft = load(tmp_path, {**condition(), "version": 4})
    with_condition = evidence.config_digest(draft)
    draft = load(tmp_path, two_members(4))
    assert draft.conditions == []
    assert evidence.config_digest(draft) != with_condition


@pytest.mark.parametrize("sides", ["either", "both"])
def test_on_which_sides_a_condition_counts_travels_too(served: EnsembleConfig, tmp_path: Path, sides: str) -> None:
    data = condition(sides=sides, both_margin=1.5)
    fusion = numbers.fusion(load(tmp_path, data))
    assert (fusion.conditions[0].sides, fusion.conditions[0].both_margin) == (sides, 1.5)
    assert numbers.to_json(fusion)["conditions"] == data["conditions"]


def test_a_shared_condition_travels_without_a_rule_of_its_own(served: EnsembleConfig, tmp_path: Path) -> None:
    data = condition(sides="shared", both_margin=5.0, centres={}, members={}, voter_sets={})
    config = load(tmp_path, data)
    assert numbers.to_json(numbers.fusion(config))["conditions"] == data["conditions"]
    rollouts.validate(config)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (condition(sides="shared", both_margin=5.0), "not calibrated.*decides nothing"),
        (condition(sides="left"), "not calibrated.*sides"),
        (condition(sides="either", both_margin=-0.5), "not calibrated.*margin"),
        (condition(sides="either", both_margin="much"), "not calibrated"),
        (two_members(voter_sets={}), "No threshold"),
        (two_members(voter_sets={FULL_SET: RULE}), "No threshold is set for the voter set arcface_int8"),
        (two_members(voter_sets={TWO: {**RULE, "a": -1}}), "not calibrated"),
        (two_members(voter_sets={TWO: {"a": 1.0, "b": 0.0}}), "not calibrated"),
        (condition(members={"sface_2021dec": CALIBRATION}), "not calibrated.*members"),
        (condition(directions={"arcface_int8": "AAAAAAAA"}), "not calibrated.*dimension"),
        (condition(directions={"nobody": "AAAAAAAA"}), "not calibrated.*dimension"),
        (condition(directions="AAAA"), "not calibrated"),
        (condition(directions={"mobilefacenet_192": "no base64"}), "not calibrated"),
        (
            condition(centres={"arcface_int8": {"probes": vector(3), "references": vector(512)}}),
            "calibrated.*dimension",
        ),
        (condition(centres={"arcface_int8": {"probes": vector(512)}}), "not calibrated"),
        (condition(members={"arcface_int8": {"a": 0.0, "b": 0.0}}), "not calibrated.*slope"),
        (condition(voter_sets={}), "No threshold is set for the voter set arcface_int8 of covered faces"),
        (condition(name="fog"), "does not know the condition fog"),
        (two_members(conditions=[{"name": "covered"}]), "not calibrated"),
        (two_members(detector="sface_2021dec"), "takes detector"),
        (two_members(presentation="sface_2021dec", liveness=LIVENESS), "takes presentation"),
        (two_members(presentation="fr_liveness"), "needs liveness.passive"),
        (two_members(presentation="fr_liveness", liveness={"passive": {**PASSIVE, "a": -1.0}}), "liveness.passive"),
        (two_members(liveness=LIVENESS), "names no network"),
        (ensemble(3, members=[{"artifact": "arcface_int8", "weight": 1.0}]), "not calibrated"),
        (ensemble(3, members=[{"artifact": DETECTOR, "weight": 1.0, "calibration": CALIBRATION}]), "not an embedder"),
    ],
    ids=[
        *("shared with a rule", "no such side", "negative margin", "a word for a margin"),
        *("no thresholds", "other voter set", "falling", "no threshold", "strange voter", "short", "stranger"),
        *("flat", "no base64", "short centre", "half a centre", "falling condition", "condition without thresholds"),
        *("unknown condition", "half a condition", "detector", "no attack detector"),
        *("no passive rule", "falling passive rule", "a rule for no network", "no calibration", "embedder"),
    ],
)
def test_validation_names_what_is_wrong(
    served: EnsembleConfig, tmp_path: Path, data: dict[str, Any], says: str
) -> None:
    load(tmp_path, data)
    with pytest.raises(CommandError, match=says):
        call_command("validate_config", "3")
    assert EnsembleConfig.objects.get(version=3).state == "draft"


def test_a_member_that_sometimes_abstains_needs_a_threshold_for_the_others(
    served: EnsembleConfig, tmp_path: Path
) -> None:
    data = two_members()
    data["members"][1]["quality_threshold"] = 0.4
    config = load(tmp_path, data)
    with pytest.raises(ConfigInvalid, match="voter set mobilefacenet_192"):
        rollouts.validate(config)


@pytest.mark.parametrize("use", ["unknown", "forbidden"])
@pytest.mark.parametrize("name", ["mobilefacenet_192", DETECTOR])
def test_weights_that_may_not_be_sold_need_a_deployment_that_says_it_is_non_commercial(
    served: EnsembleConfig, tmp_path: Path, settings: Any, name: str, use: str
) -> None:
    Artifact.objects.update(commercial_use="allowed")
    Artifact.objects.filter(name=name).update(commercial_use=use)
    load(tmp_path, two_members())
    settings.ML_MODELS = {**settings.ML_MODELS, "NONCOMMERCIAL": False}

    with pytest.raises(ConfigInvalid) as caught:
        rollouts.validate(rollouts.get_config(3))
    assert [reason for reason in caught.value.reasons if f"{name}: commercial use of the weights is {use}" in reason]
    assert len(caught.value.reasons) == 1

    settings.ML_MODELS = {**settings.ML_MODELS, "NONCOMMERCIAL": True}
    rollouts.validate(rollouts.get_config(3))
    settings.ML_MODELS = {**settings.ML_MODELS, "NONCOMMERCIAL": False}
    with pytest.raises(ConfigInvalid, match="commercial use"):  # nor is it activated where the declaration is gone
        rollouts.open_rollout(rollouts.get_config(3))


def test_a_disabled_family_is_refused_at_validation(served: EnsembleConfig, tmp_path: Path, settings: Any) -> None:
    config = load(tmp_path, two_members())
    settings.ML_MODELS = {**settings.ML_MODELS, "FAMILIES": {"arcface": {"enabled": False}}}
    with pytest.raises(ConfigInvalid, match="family arcface"):
        rollouts.validate(config)


def test_only_a_validated_version_can_be_activated(served: EnsembleConfig, tmp_path: Path) -> None:
    load(tmp_path, two_members())
    with pytest.raises(CommandError, match="rollout_refused"):
        call_command("activate_config", "3")
    with pytest.raises(CommandError, match="not_found"):
        call_command("activate_config", "99")
    assert not Rollout.objects.filter(config__version=3).exists()


def test_a_version_that_left_draft_cannot_change(served: EnsembleConfig) -> None:
    served.flip = True
    with pytest.raises(ValidationError, match="clone"):
        served.save()
    member = served.members.first()
    assert member is not None
    member.weight = 0.1
    with pytest.raises(ValidationError, match="clone"):
        member.save()


def test_the_database_allows_one_active_version(served: EnsembleConfig, tmp_path: Path) -> None:
    config = load(tmp_path, two_members())
    with pytest.raises(IntegrityError), transaction.atomic():
        EnsembleConfig.objects.filter(pk=config.pk).update(state="active")


def test_activating_a_version_of_known_networks_embeds_nothing_and_rollback_returns(
    served: EnsembleConfig, tmp_path: Path, service: Any, portraits: Portraits
) -> None:
    enroll(service, "child-1", portraits.eileen_collins)
    before = Embedding.objects.count()
    activate(tmp_path, two_members())

    assert Embedding.objects.count() == before
    body = verify(service, "child-1", portraits.eileen_collins).json()
    assert (body["decision"], body["config_version"], len(body["voters"])) == ("match", 3, 2)

    call_command("rollback_config")
    body = verify(service, "child-1", portraits.eileen_collins).json()
    assert (body["decision"], body["config_version"], len(body["voters"])) == ("match", 2, 3)
    steps = [(s.config.version, s.to_state) for s in ConfigStep.objects.filter(config__version__in=[2, 3])]
    assert steps[-4:] == [(2, "retired"), (3, "active"), (3, "retired"), (2, "active")]


def test_a_new_space_is_embedded_from_the_stored_chips_before_the_cut_over(
    served: EnsembleConfig, tmp_path: Path, service: Any, portraits: Portraits
) -> None:
    enroll(service, "child-1", portraits.eileen_collins)
    config = load(tmp_path, two_members(flip=True))
    rollouts.validate(config)
    rollout = rollouts.open_rollout(config)
    with pytest.raises(RolloutRefused, match="2 embeddings are missing"):
        rollouts.cut_over(rollout)
    # enrolments embed for the version that is on its way too
    enroll(service, "child-2", portraits.grace_hopper)
    assert backfill.count_missing(config) == 2

    runtime.refresh()
    work_off()

    config.refresh_from_db()
    assert (config.state, backfill.count_missing(config)) == ("active", 0)
    assert verify(service, "child-1", portraits.eileen_collins).json()["decision"] == "match"
    assert verify(service, "child-2", portraits.grace_hopper).json()["decision"] == "match"


def test_a_second_rollout_waits_for_the_first(served: EnsembleConfig, tmp_path: Path) -> None:
    for version in (3, 4):
        rollouts.validate(load(tmp_path, two_members(version, name=f"number {version}")))
    rollouts.open_rollout(rollouts.get_config(3))
    for version in (3, 4):
        with pytest.raises(RolloutRefused):
            rollouts.open_rollout(rollouts.get_config(version))
    assert Rollout.objects.filter(state__in=Rollout.OPEN).count() == 1


def test_rollback_without_a_warm_version_is_refused(served: EnsembleConfig) -> None:
    with pytest.raises(CommandError, match="rollout_refused"):
        call_command("rollback_config")


def test_every_artifact_of_the_pack_is_for_members_of_its_own_family(served: EnsembleConfig) -> None:
    families = dict(Artifact.objects.values_list("name", "family"))
    assert [families[name] for name in EMBEDDERS] == ["mobilefacenet", "arcface", "sface"]


def test_a_familys_quality_threshold_is_the_default_of_new_drafts(
    served: EnsembleConfig, tmp_path: Path, settings: Any
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "FAMILIES": {"arcface": {"quality_threshold": 0.3}}}
    config = load(tmp_path, two_members())
    assert config.members.get(artifact__name="arcface_int8").quality_threshold == 0.3
    assert config.members.get(artifact__name="mobilefacenet_192").quality_threshold == 0.0
    assert load(tmp_path, two_members()).steps.count() == 1  # the same file again changes nothing
