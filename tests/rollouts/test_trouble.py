"""What goes wrong with a bucket, a file or a network stops the rollout and says why; the old version answers on."""

import io
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from django.core.management import CommandError, call_command
from onnx import TensorProto, helper
from PIL import Image, ImageEnhance
from rest_framework.test import APIClient

from ml_models import artifacts, rollouts, runtime, tasks
from ml_models.artifacts import gcs
from ml_models.engine.embed import golden_crops
from ml_models.exceptions import NotReady, RolloutRefused
from ml_models.models import Artifact, EnsembleConfig, RolloutChunk, ServingProcess
from ml_models.rollouts import advancing, backfill, leasing
from ml_models.rollouts.progress import progress
from tests.conftest import Portraits
from tests.support.networks import contract, tiny_network
from tests.support.served import EMBEDDERS, RULE, ensemble, write
from tests.support.uploads import enroll, verify
from tests.support.work import work_off

pytestmark = pytest.mark.django_db
LATE = "2000-01-01T00:00Z"


@pytest.fixture
def newcomer(people: list[str], tmp_path: Path, settings: Any) -> Callable[[Path], EnsembleConfig]:
    """Publish a network and validate version 3, in which it stands in sface's place."""
    settings.ML_MODELS = {**settings.ML_MODELS, "PREFIX": f"tests/{uuid.uuid4().hex}/"}

    def publish(network: Path) -> EnsembleConfig:
        artifacts.publish(network, "newcomer", kind="embedder", family="sface", contract=contract().to_json())
        data = ensemble(3)
        data["members"][2]["artifact"] = "newcomer"
        data["voter_sets"] = {"+".join(sorted([*EMBEDDERS[:2], "newcomer"])): RULE}
        call_command("load_ensemble", str(write(tmp_path, data)))
        rollouts.validate(rollouts.get_config(3))
        return rollouts.get_config(3)

    return publish


@pytest.fixture
def emptied(tmp_path: Path, settings: Any) -> Iterator[Callable[[], Callable[[], None]]]:
    """Another machine's worker: nothing loaded, an empty cache. Gives back what ends it."""
    with ExitStack() as stack:

        def empty() -> Callable[[], None]:
            stack.enter_context(runtime.current.renewed())
            settings.ML_MODELS = {**settings.ML_MODELS, "CACHE_DIR": str(tmp_path / "cache")}
            return stack.close

        yield empty


def nan_when_bright(path: Path) -> Path:
    """A network that answers well on the golden faces, and NaN on a face brighter than they are."""
    tiny_network(path, seed=7)
    model = onnx.load(path)
    limit = float(golden_crops().mean(axis=(1, 2, 3)).max() + 8 - 127.5) / 128
    axes = [1, 2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["brightness"], axes=axes, keepdims=0),
        helper.make_node("Constant", [], ["limit"], value=helper.make_tensor("l", TensorProto.FLOAT, [], [limit])),
        helper.make_node("Sub", ["limit", "brightness"], ["spare"]),
        helper.make_node("Sqrt", ["spare"], ["root"]),  # NaN below zero
        helper.make_node("Sub", ["root", "root"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "one"], ["column"]),
        helper.make_node("Constant", [], ["one"], value=helper.make_tensor("o", TensorProto.INT64, [1], [1])),
        helper.make_node("Add", ["raw", "column"], ["output"]),
    ]
    model.graph.node[-1].output[0] = "raw"
    nodes = sorted(nodes, key=lambda node: node.op_type != "Constant")
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())
    return path


def brighter(picture: bytes) -> bytes:
    image = ImageEnhance.Brightness(Image.open(io.BytesIO(picture)).convert("RGB")).enhance(1.5)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def still_answering(service: APIClient, portraits: Portraits) -> bool:
    body = verify(service, "child-1", portraits.eileen_collins).json()
    return bool((body["config_version"], body["decision"]) == (2, "match"))


def states() -> tuple[str, str]:
    by_version = dict(EnsembleConfig.objects.values_list("version", "state"))
    return by_version[2], by_version[3]


def test_a_network_that_gives_NaN_on_some_faces_stops_the_rollout(
    newcomer: Any, service: APIClient, portraits: Portraits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "RETRY_AFTER", timedelta(0))
    config = newcomer(nan_when_bright(tmp_path / "nan.onnx"))
    for subject_id in ("child-3", "child-4"):
        assert enroll(service, subject_id, brighter(portraits.eileen_collins)).status_code == 201
    rollout = rollouts.open_rollout(config)
    runtime.refresh()
    work_off()
    rollout.refresh_from_db()
    assert (rollout.state, *states()) == ("failed", "active", "validated")
    assert "2 references could not be embedded (inference_failed: 2); 1 are allowed." in rollout.reason
    failed = rollout.failures.values_list("reference__subject__subject_id", "tries")
    assert set(failed) == {("child-3", 3), ("child-4", 3)}
    assert still_answering(service, portraits)


def test_a_network_that_always_gives_NaN_cannot_even_be_published(newcomer: Any, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="not finite"):
        newcomer(tiny_network(tmp_path / "nan.onnx", poison="nan"))


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        ({"dimension": 17}, "contract_mismatch"),
        ({"graph_sha256": "0" * 64}, "contract_mismatch"),
        ({"golden": np.ones((2, 16), "<f4").tobytes()}, "golden_mismatch"),
        ({"size": 1}, "artifact_corrupt"),
        ({"sha256": "0" * 64}, "artifact_corrupt"),
        ({"generation": 1}, "artifact_missing"),
    ],
    ids=["dimension", "graph", "golden vectors", "size", "sha256", "generation"],
)
def test_a_file_or_network_that_is_not_what_was_published_stops_the_rollout(
    newcomer: Any,
    emptied: Any,
    service: APIClient,
    portraits: Portraits,
    tmp_path: Path,
    spoilt: dict[str, Any],
    code: str,
) -> None:
    config = newcomer(tiny_network(tmp_path / "good.onnx", seed=8))
    rollout = rollouts.open_rollout(config)
    Artifact.objects.filter(name="newcomer").update(**spoilt)
    emptied()
    [chunk] = rollouts.advance()
    with pytest.raises(NotReady):
        backfill.embed_chunk(chunk)
    tasks.tick()
    rollout.refresh_from_db()
    assert (rollout.state, *states()) == ("failed", "active", "validated")
    assert f"newcomer cannot be used: {code}" in rollout.reason
    assert still_answering(service, portraits)


def test_a_bucket_that_is_down_is_told_and_in_the_end_stops_the_rollout(
    newcomer: Any, emptied: Any, service: APIClient, portraits: Portraits, tmp_path: Path, monkeypatch: Any
) -> None:
    config = newcomer(tiny_network(tmp_path / "good.onnx", seed=9))
    rollout = rollouts.open_rollout(config)
    [chunk] = rollouts.advance()
    back_here = emptied()
    with monkeypatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
        patch.setattr(gcs, "TIMEOUT_S", 0.1)
        runtime.report()
        for refused in range(1, advancing.MAX_REFUSALS + 1):
            with pytest.raises(NotReady):
                backfill.embed_chunk(chunk)
            runtime.report()
            rollout.refresh_from_db()
            assert (rollout.state, rollout.refusals) == ("embedding", refused)
            assert "newcomer (bucket_unavailable)" in progress(rollout).reason
            assert RolloutChunk.objects.get().attempts == 0  # not the chunk's fault
            if refused < advancing.MAX_REFUSALS:
                assert rollouts.advance() == [chunk]  # free again at once
        tasks.tick()
    rollout.refresh_from_db()
    assert (rollout.state, *states()) == ("failed", "active", "validated")
    assert "No worker can load the networks." in rollout.reason
    assert "newcomer (bucket_unavailable)" in rollout.reason
    back_here()
    assert still_answering(service, portraits)

    ServingProcess.objects.all().delete()
    rollouts.open_rollout(rollouts.get_config(3))
    runtime.refresh()
    work_off()
    assert states() == ("retired", "active")


def test_a_chunk_that_kills_every_worker_stops_the_rollout(
    mirrored: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    [chunk] = rollouts.advance()
    for _ in range(leasing.MAX_ATTEMPTS):
        assert rollouts.advance() == []
        with monkeypatch.context() as patch:
            patch.setattr(backfill, "embed_batch", lambda *args: exit(9))
            with pytest.raises(SystemExit):
                backfill.embed_chunk(chunk)
        RolloutChunk.objects.update(leased_until=LATE)
        chunks = rollouts.advance()
    assert chunks == []
    rollout.refresh_from_db()
    assert (rollout.state, *states()) == ("failed", "active", "validated")
    assert "Workers were lost 5 times over the same 2 references" in rollout.reason


def test_a_version_whose_detector_is_not_loaded_everywhere_does_not_go_live(
    people: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [detector] = Artifact.objects.filter(kind="detector")
    other = onnx.load(artifacts.local_path(detector))
    helper.set_model_props(other, {"copy": "another file"})
    path = tmp_path / "other.onnx"
    path.write_bytes(other.SerializeToString())
    artifacts.publish(path, "other_yunet", kind="detector", family=detector.family, contract=detector.contract)
    runtime.report()  # of a process that serves, and has not looked again
    call_command("load_ensemble", str(write(tmp_path, ensemble(3, detector="other_yunet"))))
    rollouts.validate(rollouts.get_config(3))
    rollout = rollouts.open_rollout(rollouts.get_config(3))
    tasks.tick()
    rollout.refresh_from_db()
    assert rollout.state == "embedding"
    assert rollout.reason.startswith("Waiting for ")

    runtime.refresh()
    runtime.report()
    tasks.tick()
    assert states() == ("retired", "active")


def test_validation_needs_the_file_in_the_bucket_and_not_only_in_this_machines_cache(
    newcomer: Any, tmp_path: Path
) -> None:
    config = newcomer(tiny_network(tmp_path / "good.onnx", seed=10))
    EnsembleConfig.objects.filter(pk=config.pk).update(state="draft")
    Artifact.objects.filter(name="newcomer").update(generation=1)
    with pytest.raises(CommandError, match="newcomer cannot be used: artifact_missing"):
        call_command("validate_config", "3")


def test_a_rollout_without_a_worker_says_what_to_do(mirrored: EnsembleConfig) -> None:
    where = progress(rollouts.open_rollout(mirrored))
    assert "No Celery worker reports itself: start one" in where.reason


def test_a_discarded_version_is_put_away_and_what_it_alone_embedded_is_purged(
    mirrored: EnsembleConfig, capsys: Any
) -> None:
    rollout = rollouts.open_rollout(mirrored)
    runtime.refresh()
    for chunk in rollouts.advance():
        backfill.embed_chunk(chunk)
    with pytest.raises(RolloutRefused):
        rollouts.discard(mirrored)
    rollouts.abort(rollout)
    rollouts.discard(rollouts.get_config(3))
    assert states() == ("active", "retired")
    with pytest.raises(RolloutRefused):
        rollouts.discard(rollouts.get_config(3))
    call_command("purge_retired")
    assert "6 of 6" in capsys.readouterr().out

    assert rollouts.open_rollout(rollouts.get_config(3)).pairs == 6
    work_off()
    assert states() == ("retired", "active")
