"""What older versions of the app wrote is still understood."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

BEFORE, AFTER = ("ml_models", "0011_cover"), ("ml_models", "0012_conditions")


@pytest.fixture
def executor(transactional_db: None) -> Iterator[MigrationExecutor]:
    executor = MigrationExecutor(connection)
    yield executor
    executor.loader.build_graph()
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_one_member_deciding_behind_a_mask_is_a_condition(executor: MigrationExecutor) -> None:
    executor.migrate([BEFORE])
    old = executor.loader.project_state([BEFORE]).apps
    config, artifact = (old.get_model("ml_models", name) for name in ("EnsembleConfig", "Artifact"))
    detector = artifact.objects.create(
        name="detector", kind="detector", sha256="0" * 64, size=1, generation=1, contract={}
    )
    cover = {
        "directions": {"arcface_int8": "AAAA"},
        "offset": -1.5,
        "voter": "sface_2021dec",
        "a": 27.0,
        "b": -4.8,
        "threshold": 3.0,
        "review_threshold": 1.0,
    }
    config.objects.create(version=1, name="masks", detector=detector, cover=cover)
    config.objects.create(version=2, name="none", detector=detector)

    executor.loader.build_graph()
    executor.migrate([AFTER])
    now = executor.loader.project_state([AFTER]).apps.get_model("ml_models", "EnsembleConfig")
    assert now.objects.get(version=2).conditions == []
    assert now.objects.get(version=1).conditions == [
        {
            "name": "covered",
            "directions": cover["directions"],
            "offset": -1.5,
            "centres": {},
            "members": {"sface_2021dec": {"a": 27.0, "b": -4.8}},
            "voter_sets": {
                "sface_2021dec": {"a": 1.0, "b": 0.0, "trust": {}, "threshold": 3.0, "review_threshold": 1.0}
            },
        }
    ]
