"""Files that may be run in bfloat16: allowed by their contract, after the proof that they still tell people apart."""

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from ml_models.conversion import bfloat16
from ml_models.conversion.errors import ConversionError
from ml_models.engine.embed import Embedder, space_id
from ml_models.engine.graph import graph_digest, read_metadata
from ml_models.engine.inference import OpenVinoGraph
from ml_models.engine.types import InputContract
from tests.support.made_people import CONTRACT, labelled, network, write_list
from tests.support.processor import needs_bfloat16


@needs_bfloat16
def test_the_command_proves_the_file_and_changes_its_contract_alone(tmp_path: Path) -> None:
    model, output, out = network(tmp_path / "net.onnx"), tmp_path / "net_bf16.onnx", io.StringIO()
    pairs = ["--pairs", str(write_list(tmp_path / "made"))]
    arguments = [str(model), "--bf16", "--output", str(output), *pairs, "--json"]
    call_command("quantize_model", *arguments, stdout=out, stderr=io.StringIO())

    result = json.loads(out.getvalue())
    assert (result["cosine"] > 0.999, result["separations"][0]["passed"]) == (True, True)
    assert json.loads((tmp_path / "net_bf16.onnx.proof.json").read_text())["sha256"] == result["sha256"]
    changed = InputContract.from_json(json.loads(read_metadata(output)["ml_models.contract"]))
    assert changed.precision == "bfloat16"
    assert graph_digest(output) == graph_digest(model)
    digest = graph_digest(model)
    assert space_id(digest, changed, flip=False) != space_id(digest, CONTRACT, flip=False)


@needs_bfloat16
def test_a_network_whose_weights_need_more_than_eight_bits_is_refused(tmp_path: Path) -> None:
    model, output = network(tmp_path / "net.onnx", common=60.0), tmp_path / "net_bf16.onnx"
    with pytest.raises(ConversionError, match="Only the float file remains") as caught:
        bfloat16.allow_bfloat16(model, output, CONTRACT, {}, [labelled()])
    assert caught.value.code == "separation_lost"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx"]


def test_where_the_processor_has_none_nothing_is_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_float(model: Path, contract: InputContract, opener: object) -> Embedder:
        return Embedder(model, contract)

    monkeypatch.setattr(bfloat16, "Embedder", in_float)
    with pytest.raises(ConversionError, match="does not multiply bfloat16 numbers") as caught:
        bfloat16.allow_bfloat16(network(tmp_path / "net.onnx"), tmp_path / "a.onnx", CONTRACT, {}, [labelled()])
    assert caught.value.code == "bfloat16_missing"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx"]


def test_the_command_wants_one_form_and_a_list(tmp_path: Path) -> None:
    model = str(network(tmp_path / "net.onnx"))
    for form in ([], ["--bf16", "--calibration", str(tmp_path)]):
        with pytest.raises(CommandError):
            call_command("quantize_model", model, "--output", "a.onnx", "--pairs", "a.csv", *form)
    with pytest.raises(CommandError, match=r"^pairs_required: "):
        call_command("quantize_model", model, "--output", "a.onnx", "--bf16")


@needs_bfloat16
def test_a_contract_that_does_not_allow_it_is_never_run_in_it(tmp_path: Path) -> None:
    model = network(tmp_path / "net.onnx")
    assert Embedder(model, CONTRACT, OpenVinoGraph).engine == "openvino"
