"""A draft's numbers changed in the panel, and ensemble files sent up."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from ml_models import rollouts
from ml_models.models import EnsembleConfig
from ml_models.versions import evidence, files
from tests.support.panel import page, told
from tests.support.served import FULL_SET, ensemble

pytestmark = pytest.mark.django_db

WEIGHTS = ("weight mobilefacenet_192", "weight arcface_int8", "weight sface_2021dec")


def form_of(client: Client, config: EnsembleConfig) -> dict[str, Any]:
    """The form as it is filled when the page opens."""
    form = client.get(page("ensembleconfig", "tune", config.pk)).context["form"]
    return {name: value for name in form.fields if (value := form[name].value()) is not None}


def tune(client: Client, config: EnsembleConfig, filled: dict[str, Any], **changes: Any) -> Any:
    return client.post(page("ensembleconfig", "tune", config.pk), {**filled, **changes}, follow=True)


def test_numbers_of_a_draft_are_tuned_and_wrong_ones_are_refused(operator: Client, draft: EnsembleConfig) -> None:
    filled = form_of(operator, draft)
    before = files.export(draft)
    assert "Nothing was changed" in told(tune(operator, draft, filled))
    for changes, why in (
        (dict(zip(WEIGHTS, ("0.3", "0.3", "0.3"), strict=True)), "The weights sum to 0.9, not to 1."),
        ({WEIGHTS[0]: "1.5"}, "less than or equal to 1"),
        ({"target_fmr": ""}, "required"),
    ):
        answer = tune(operator, draft, filled, **changes)
        assert why in answer.text
        assert 'value="0.3"' in answer.text or "weight" in answer.text
    assert files.export(rollouts.get_config(3)) == before

    done = tune(operator, draft, filled, **{f"threshold {FULL_SET}": "3.5", "verify min_face_px": "50"})
    assert "has the new numbers" in told(done)
    tuned = files.export(rollouts.get_config(3))
    assert tuned["voter_sets"][FULL_SET]["threshold"] == 3.5
    assert tuned["quality_limits"] == {"verify": {"min_face_px": 50.0}}
    assert draft.steps.last().reason == "updated in the panel"  # type: ignore[union-attr]
    stale = tune(operator, draft, filled, target_fmr="0.01")
    assert "changed meanwhile" in told(stale)
    assert files.export(rollouts.get_config(3)) == tuned


def test_thresholds_that_were_fitted_for_other_weights_are_missing_evidence(
    operator: Client, draft: EnsembleConfig, settings: Any
) -> None:
    assert evidence.of_weights(draft) == []
    lighter = dict(zip(WEIGHTS, ("0.5", "0.4", "0.1"), strict=True))
    why = "fitted for other weights: mobilefacenet_192 0.3, now 0.5; sface_2021dec 0.3, now 0.1. Run calibrate."
    assert why in told(tune(operator, draft, form_of(operator, draft), **lighter)).replace("arcface_int8", "")
    settings.ML_MODELS = {**settings.ML_MODELS, "EVIDENCE_GATE": "enforce"}
    refused = operator.post(page("ensembleconfig", "validate", draft.pk), follow=True)
    assert "fitted for other weights" in told(refused)
    # neither a threshold set by hand nor the way through a file makes them fit
    config = rollouts.get_config(3)
    tune(operator, config, form_of(operator, config), **{f"threshold {FULL_SET}": "3.5"})
    text = files.dump({**files.export(rollouts.get_config(3)), "version": 4})
    files.load_text(text, "v4.yaml")
    assert all(evidence.of_weights(rollouts.get_config(version)) for version in (3, 4))
    config = rollouts.get_config(3)
    tune(operator, config, form_of(operator, config), **dict(zip(WEIGHTS, ("0.3", "0.4", "0.3"), strict=True)))
    assert evidence.of_weights(rollouts.get_config(3)) == []


def test_only_a_draft_is_tuned_and_only_by_who_may(
    staff: Callable[..., Client], operator: Client, served: EnsembleConfig, draft: EnsembleConfig
) -> None:
    for answer in (tune(operator, served, {}), operator.get(page("ensembleconfig", "tune", served.pk), follow=True)):
        assert "only a draft is tuned" in told(answer)
    assert (
        staff("view_ensembleconfig", "add_ensembleconfig").get(page("ensembleconfig", "tune", draft.pk)).status_code
        == 403
    )


def test_an_ensemble_file_is_loaded_and_what_is_none_is_refused(
    operator: Client, staff: Callable[..., Client], served: EnsembleConfig
) -> None:
    url = reverse("admin:ml_models_ensembleconfig_load")

    def load(client: Client, text: str) -> Any:
        file = SimpleUploadedFile("v7.yaml", text.encode(), "application/yaml")
        return client.post(url, {"file": file}, follow=True)

    good = yaml.safe_dump(ensemble(7, name="sent up"))
    assert "v7 sent up is created." in told(load(operator, good))
    exported = operator.get(page("ensembleconfig", "export", EnsembleConfig.objects.get(version=7).pk)).text
    assert "v7 sent up is unchanged." in told(load(operator, exported))
    for text, why in (
        (good.replace("weight: 0.3", "weight: 0.2"), "sum to"),
        ("[", "cannot be read"),
        ("\0", "cannot be read"),
        (yaml.safe_dump(ensemble(2, name="another")), "cannot change"),
    ):
        assert why in told(load(operator, text))
    assert "Choose an ensemble file" in told(operator.post(url))
    assert staff("view_ensembleconfig", "change_ensembleconfig").get(url).status_code == 403
