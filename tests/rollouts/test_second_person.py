"""Two people activate a version, where a deployment asks for it."""

from typing import Any

import pytest

from ml_models import rollouts
from ml_models.exceptions import RolloutRefused
from ml_models.models import EnsembleConfig, Rollout
from tests.support.work import work_off

pytestmark = pytest.mark.django_db


def state(rollout: Rollout) -> str:
    return Rollout.objects.get(pk=rollout.pk).state


def test_another_person_than_the_first_gives_the_go(
    mirrored: EnsembleConfig, settings: Any, django_user_model: Any
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "SECOND_PERSON": True}
    first, second = (django_user_model.objects.create_user(name) for name in ("first", "second"))
    with pytest.raises(RolloutRefused, match="Two people activate a version here"):
        rollouts.open_rollout(mirrored)
    rollout = rollouts.open_rollout(mirrored, first)
    assert rollout.hold_for_approval
    Rollout.objects.filter(pk=rollout.pk).update(hold_for_approval=False)  # as one from before the setting
    work_off()
    assert state(rollout) == "awaiting_approval"
    for by in (None, first):
        with pytest.raises(RolloutRefused, match="Whoever did not open the rollout"):
            rollouts.cut_over(rollouts.get_rollout(rollout.pk), by)
    assert state(rollout) == "awaiting_approval"
    rollouts.cut_over(rollouts.get_rollout(rollout.pk), second)
    assert (state(rollout), EnsembleConfig.objects.get(state="active").version) == ("complete", 3)
    # the way back is for emergencies: one person is enough
    assert rollouts.roll_back(first).version == 2
