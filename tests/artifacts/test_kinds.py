"""Every kind of model file has its module, and every place in a version takes a kind that there is."""

import inspect

import pytest

from ml_models.artifacts.kinds import KINDS, Kind
from ml_models.engine.pipeline import Pipeline
from ml_models.models import Artifact, EnsembleConfig


@pytest.mark.parametrize("kind", Artifact.Kind.values)
def test_a_kind_can_do_what_is_asked_of_one(kind: str) -> None:
    asked = [name for name, _ in inspect.getmembers(Kind, inspect.isfunction) if not name.startswith("_")]
    assert sorted(asked) == ["families", "load", "measure", "seconds_per_face"]
    for name in asked:
        wanted = list(inspect.signature(getattr(Kind, name)).parameters)[1:]
        assert list(inspect.signature(getattr(KINDS[kind], name)).parameters) == wanted


def test_a_place_in_a_version_is_a_part_of_the_pipeline_and_its_relation_is_frozen() -> None:
    assert set(EnsembleConfig.RELATIONS) <= EnsembleConfig.PLACES.keys()
    for place, kind in EnsembleConfig.PLACES.items():
        assert place in Pipeline.__dataclass_fields__
        assert kind in KINDS
    for place in EnsembleConfig.RELATIONS:
        assert EnsembleConfig._meta.get_field(place).related_model is Artifact
        assert f"{place}_id" in EnsembleConfig.FROZEN
