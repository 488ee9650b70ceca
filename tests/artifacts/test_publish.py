"""`publish_model`: created once and read back, or refused with nothing left behind."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from django.core.management import CommandError, call_command
from onnx import TensorProto

from ml_models import artifacts, conf
from ml_models.artifacts import gcs
from ml_models.artifacts.storage import Progress, StoredObject
from ml_models.engine.embed import Embedder, golden_vectors
from ml_models.engine.inference import OnnxRuntimeGraph
from ml_models.engine.types import canonical_json
from ml_models.models import Artifact, EnsembleConfig
from tests.support.flaky import Line
from tests.support.networks import contract, presentation_contract, tiny_network, tiny_presentation, with_metadata
from tests.support.served import ROOT

pytestmark = pytest.mark.django_db

CITATION = "@inproceedings{someone2020,\n  title = {A Network}\n}"


def stamped(path: Path, facts: dict[str, str] | None = None, **network: Any) -> Path:
    """A tiny network as the converters write it; five pieces long."""
    plain = tiny_network(path.with_suffix(".plain"), dimension=512, **network)
    metadata = {
        "contract": canonical_json(contract(dimension=512).to_json()),
        "family": "adaface",
        "weights_licence": "MIT",
        "training_data": "MS1MV2: have it reviewed",
        "commercial_use": "allowed",
        "citation": CITATION,
        **(facts or {}),
    }
    return with_metadata(plain, path, {f"ml_models.{key}": value for key, value in metadata.items() if value})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return stamped(tmp_path / "net.onnx")


def publish(path: Path, name: str = "net", family: str = "adaface", facts: Path | None = None) -> dict[str, Any]:
    out = io.StringIO()
    options = {"name": name, "family": family, "facts": facts, "json": True}
    call_command("publish_model", path, **options, stdout=out, stderr=io.StringIO())
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def the_object(name: str = "net") -> Any:
    return gcs.open_bucket().get_blob(artifacts.object_name(name))


def test_what_the_file_says_of_itself_becomes_the_row(bucket: str, model: Path) -> None:
    result = publish(model)

    row = Artifact.objects.get(name="net")
    assert result["uploaded"] is True
    assert row.uri == f"gs://{conf.get('BUCKET')}/{bucket}net.onnx"
    assert row.generation == the_object().generation == result["generation"]
    assert (row.family, row.kind, row.dimension) == ("adaface", "embedder", 512)
    assert (row.weights_licence, row.training_data) == ("MIT", "MS1MV2: have it reviewed")
    assert (row.commercial_use, row.citation) == ("allowed", CITATION)
    assert the_object().download_as_bytes() == model.read_bytes()
    expected = golden_vectors(Embedder(model, contract(dimension=512)))
    assert np.array_equal(row.golden_vectors, expected)


@pytest.mark.parametrize("name", ["presentation", "upright", "pictures", "total"])
def test_a_name_that_times_are_told_by_is_refused(bucket: str, model: Path, name: str) -> None:
    with pytest.raises(CommandError, match="under another name"):
        publish(model, name)
    assert not Artifact.objects.exists()


def test_a_bare_network_that_looks_for_attacks_is_published_with_its_facts(bucket: str, tmp_path: Path) -> None:
    network, facts = tiny_presentation(tmp_path / "v1se.onnx", side=80), tmp_path / "v1se.json"
    contract = presentation_contract(size=[80, 80], scale=4.0, live_index=1).to_json()
    said = {"contract": contract, "weights_licence": "Apache-2.0", "commercial_use": "allowed", "citation": CITATION}

    def bring(**changes: Any) -> dict[str, Any]:
        facts.write_text(json.dumps({**said, **changes}))
        return publish(network, "minifasnet_v1se", "minifasnet", facts)

    wrong: list[tuple[dict[str, Any], str]] = [
        ({"contract": {**contract, "kind": "embedder"}}, "import_model"),
        ({"contract": {**contract, "size": [128, 128]}}, "input shape"),
        ({"contract": None}, "no JSON object"),
        ({"licence": "MIT"}, "licence is none of"),
    ]
    for changes, says in wrong:
        with pytest.raises(CommandError, match=says):
            bring(**changes)
    with pytest.raises(CommandError, match="Leave --facts out"):
        publish(stamped(tmp_path / "net.onnx"), "net", facts=facts)
    assert bring()["uploaded"] is True
    row = Artifact.objects.get()
    assert (row.kind, row.weights_licence, row.commercial_use) == ("presentation", "Apache-2.0", "allowed")
    assert row.contract == contract
    assert artifacts.load(row).golden.shape == row.golden_vectors.shape == (2, 3)
    assert bring()["uploaded"] is False


def test_people_are_told_the_citation_and_where_it_lies(bucket: str, model: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    call_command("publish_model", model, name="net", family="adaface", stdout=out, stderr=err)

    assert CITATION in out.getvalue()
    assert f"{bucket}net.onnx: uploaded and read back" in out.getvalue()
    assert "commercial use: allowed" in out.getvalue()
    assert "uploading net 100 %" in err.getvalue()


def test_the_same_bytes_again_change_nothing(bucket: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = publish(model)
    monkeypatch.setattr(Embedder, "__init__", None)  # nor is the network run again

    assert publish(model) == {**first, "uploaded": False}
    assert Artifact.objects.count() == 1


def test_other_bytes_under_the_name_are_refused(bucket: str, model: Path, tmp_path: Path) -> None:
    publish(model)

    with pytest.raises(CommandError, match=r"^name_taken: "):
        publish(stamped(tmp_path / "other.onnx", seed=1))
    assert the_object().download_as_bytes() == model.read_bytes()


def test_a_published_file_keeps_its_family(bucket: str, tmp_path: Path) -> None:
    model = stamped(tmp_path / "net.onnx", {"family": ""})
    publish(model, family="sface")

    with pytest.raises(CommandError, match=r"^name_taken: .*sface"):
        publish(model, family="adaface")


class Outrun(gcs.GcsStorage):
    """Another process creates the object between our look and our upload."""

    other = b"other bytes"

    def create(self, path: Path, name: str, sha256: str, progress: Progress | None = None) -> StoredObject:
        gcs.open_bucket().blob(name).upload_from_string(self.other)
        return super().create(path, name, sha256, progress)


def test_whoever_publishes_first_wins(bucket: str, model: Path, settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "STORAGE": f"{__name__}.{Outrun.__name__}"}
    with pytest.raises(CommandError, match=r"^name_taken: "):
        publish(model)
    assert the_object().download_as_bytes() == Outrun.other
    assert not Artifact.objects.exists()


def test_of_two_who_publish_the_same_bytes_the_second_one_uploads_nothing(
    bucket: str, model: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "STORAGE": f"{__name__}.{Outrun.__name__}"}
    monkeypatch.setattr(Outrun, "other", model.read_bytes())
    assert publish(model)["uploaded"] is False
    assert Artifact.objects.get().generation == the_object().generation


def test_what_its_uploader_called_other_bytes_is_refused_unread(line: Line, model: Path) -> None:
    """A file of 170 MB need not come back to be refused; one that says nothing, or the same, is read."""
    blob = gcs.open_bucket().blob(artifacts.object_name("net"))
    blob.metadata = {"sha256": "0" * 64}
    blob.upload_from_string(b"other bytes")
    line.answer = lambda method, path: (403, "{}") if "alt=media" in path else None
    with pytest.raises(CommandError, match=r"^name_taken: "):
        publish(model)


def test_an_interrupted_command_run_again_goes_on(line: Line, model: Path) -> None:
    line.treat = lambda number, body: None if number > 3 else body
    with pytest.raises(CommandError, match=r"^bucket_unavailable: "):
        publish(model)
    assert the_object() is None
    assert not Artifact.objects.exists()

    line.treat = lambda number, body: body
    line.puts.clear()
    assert publish(model)["uploaded"] is True
    assert len(line.puts) == 2
    assert the_object().download_as_bytes() == model.read_bytes()


@pytest.mark.parametrize(
    ("facts", "network", "code"),
    [
        ({"contract": ""}, {}, "contract_mismatch: .*import_model"),
        ({"contract": "no JSON"}, {}, "contract_mismatch"),
        ({"contract": canonical_json(contract(dimension=128).to_json())}, {}, "contract_mismatch"),
        ({"family": "sface"}, {}, "family_conflict: .*sface"),
        ({}, {"poison": "constant"}, "artifact_rejected: .*collapsed"),
        ({}, {"poison": "nan"}, "inference_failed"),
        ({}, {"batch": 1}, "contract_mismatch"),
    ],
    ids=["no contract", "broken contract", "dimension", "family", "collapsed", "nan", "fixed batch"],
)
def test_a_file_that_cannot_serve_is_never_published(
    bucket: str, tmp_path: Path, facts: dict[str, str], network: dict[str, Any], code: str
) -> None:
    with pytest.raises(CommandError, match=rf"^{code}"):
        publish(stamped(tmp_path / "net.onnx", facts, **network))
    assert the_object() is None
    assert not Artifact.objects.exists()


def test_a_file_whose_weights_lie_beside_it_is_refused(bucket: str, model: Path, tmp_path: Path) -> None:
    graph = onnx.load(model)
    weights = next(tensor for tensor in graph.graph.initializer if tensor.name == "weights")
    (tmp_path / "weights.bin").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    model.write_bytes(graph.SerializeToString())

    Embedder(model, contract(dimension=512))  # onnxruntime would take it
    with pytest.raises(CommandError, match=r"^graph_refused: .*another file"):
        publish(model)


@pytest.mark.parametrize("keep", [0, 1000, -1000])
def test_a_truncated_file_is_refused(bucket: str, model: Path, keep: int) -> None:
    model.write_bytes(model.read_bytes()[:keep])
    with pytest.raises(CommandError, match=r"^contract_mismatch: "):
        publish(model)


def test_a_file_that_is_not_there_and_a_name_that_is_none_are_refused(bucket: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"^not_found: "):
        publish(tmp_path / "absent.onnx")
    for name in ("../net", "a/b", "", ".net", "n" * 101):
        with pytest.raises(CommandError, match=r"^invalid_request: "):
            publish(model, name=name)


def test_commercial_use_that_is_no_known_word_counts_as_unknown(bucket: str, tmp_path: Path) -> None:
    assert publish(stamped(tmp_path / "net.onnx", {"commercial_use": "sure"}))["commercial_use"] == "unknown"


def test_an_int8_file_that_was_not_proven_says_so(bucket: str, tmp_path: Path) -> None:
    out = io.StringIO()
    model = stamped(tmp_path / "net.onnx", {"separation": "not measured"})
    call_command("publish_model", model, name="net", family="adaface", stdout=out, stderr=io.StringIO())

    assert "NOT proven" in out.getvalue()


def test_the_guides_version_is_loadable_as_soon_as_adaface_is_published(
    demo_pack: dict[str, Artifact], bucket: str, tmp_path: Path
) -> None:
    ensemble = ROOT / "config" / "ensembles" / "v3-adaface.yaml"
    with pytest.raises(CommandError, match="adaface_ir50_ms1mv2 is not published"):
        call_command("load_ensemble", ensemble)

    publish(stamped(tmp_path / "net.onnx"), name="adaface_ir50_ms1mv2")
    call_command("load_ensemble", ensemble)
    weights = {member.artifact.name: member.weight for member in EnsembleConfig.objects.get(version=3).members.all()}
    assert weights == {"mobilefacenet_192": 0.3, "arcface_int8": 0.4, "adaface_ir50_ms1mv2": 0.3}


def test_the_tolerance_of_int8_holds_for_processors_with_other_instructions(demo_pack: dict[str, Artifact]) -> None:
    int8 = demo_pack["arcface_int8"]
    path = artifacts.ensure_local(int8)
    cosines = {
        arithmetic: (golden_vectors(Embedder(path, int8.input_contract, opener)) * int8.golden_vectors).sum(1).min()
        for arithmetic in ("exact", "saturating", "unfused")
        for opener in [partial(OnnxRuntimeGraph, arithmetic=arithmetic)]
    }

    assert min(cosines.values()) > int8.golden_min_cosine
    assert 0.95 < int8.golden_min_cosine < demo_pack["arcface_fp32"].golden_min_cosine == 0.9999
