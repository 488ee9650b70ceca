"""`convert_adaface`: one command from the author's file to a proven ONNX file, or a refusal that leaves nothing."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

torch = pytest.importorskip("torch", reason="conversion tests run in the conversion environment: make convert-env")

import onnx  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from ml_models.conversion import bench, proof  # noqa: E402
from ml_models.conversion.adaface import conversion, export  # noqa: E402
from ml_models.conversion.adaface.seeded import seeded_network  # noqa: E402
from ml_models.conversion.errors import ConversionError  # noqa: E402
from ml_models.engine.embed import Embedder, golden_crops  # noqa: E402
from ml_models.engine.graph import graph_digest, read_metadata  # noqa: E402
from ml_models.engine.types import InputContract  # noqa: E402
from tests.support.disk import full_disk  # noqa: E402


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    """Seeded weights of the true IR-18 layout, as the author's wrapper saves them."""
    with TemporaryDirectory() as name:
        path = Path(name) / "model.safetensors"
        save_file({f"model.net.{k}": t for k, t in seeded_network("ir18", seed=1).state_dict().items()}, path)
        yield path


@pytest.fixture(scope="module")
def converted(source: Path) -> Iterator[conversion.Converted]:
    with TemporaryDirectory() as name:
        yield conversion.convert(str(source), Path(name) / "adaface.onnx", dataset="ms1mv2", color_order="BGR")


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


def run(*args: Any) -> dict[str, Any]:
    out = io.StringIO()
    call_command("convert_adaface", *map(str, args), "--json", stdout=out, stderr=io.StringIO())
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def test_the_command_prints_one_object_and_writes_the_same_proof_beside_the_file(
    converted: conversion.Converted, source: Path, folder: Path
) -> None:
    output = folder / "adaface.onnx"

    result = run(source, "--dataset", "ms1mv2", "--color-order", "BGR", "--output", output)

    assert result["architecture"] == "ir18"
    assert result["prefix"] == "model.net."
    assert result["commercial_use"] == "allowed"
    assert "@inproceedings{kim2022adaface" in result["citation"]
    assert json.loads((folder / "adaface.onnx.proof.json").read_text()) == result["proof"]
    assert result["proof"]["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert result["proof"]["sha256"] == converted.proof.sha256  # converting twice gives the same bytes
    assert sorted(path.name for path in folder.iterdir()) == ["adaface.onnx", "adaface.onnx.proof.json"]


def test_the_command_tells_people_the_same(source: Path, folder: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    arguments = [str(source), "--dataset", "casia", "--color-order", "RGB", "--output", str(folder / "a.onnx")]
    call_command("convert_adaface", *arguments, stdout=out, stderr=err)

    assert "parameters 24.0 M" in out.getvalue()
    assert "commercial use: forbidden" in out.getvalue()
    assert "accuracy: not measured" in out.getvalue()
    assert "@inproceedings{kim2022adaface" in out.getvalue()
    assert "comparing PyTorch with onnxruntime" in err.getvalue()


def test_pytorch_and_onnxruntime_agree_on_noise_and_faces_alone_and_by_eight(converted: conversion.Converted) -> None:
    assert {(a.inputs, a.batch) for a in converted.proof.agreements} == {
        ("random", 1),
        ("random", 8),
        ("faces", 1),
        ("faces", 8),
    }
    assert converted.proof.min_cosine > 0.99999
    assert converted.proof.max_abs_difference < 1e-3
    assert converted.proof.parameters == 24_020_352
    assert converted.proof.ms_per_face > 0
    assert converted.proof.accuracy == "not measured"


def test_the_engine_loads_the_file_by_its_own_contract(converted: conversion.Converted, source: Path) -> None:
    metadata = read_metadata(converted.output)
    contract = InputContract.from_json(json.loads(metadata["ml_models.contract"]))
    embeddings = Embedder(converted.output, contract).embed(golden_crops())

    bgr = golden_crops()[..., ::-1].astype(np.float32) / 255
    with torch.inference_mode():
        expected = seeded_network("ir18", seed=1)(torch.from_numpy(((bgr - 0.5) / 0.5).transpose(0, 3, 1, 2).copy()))
    assert contract.color_order == "BGR"
    assert np.allclose(embeddings.norms, expected.norm(dim=1).numpy(), rtol=1e-4)
    assert (embeddings.vectors * (expected / expected.norm(dim=1, keepdim=True)).numpy()).sum(1).min() > 0.99999


def test_the_file_carries_everything_that_is_known_of_it(converted: conversion.Converted, source: Path) -> None:
    metadata = read_metadata(converted.output)

    assert metadata["ml_models.source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert metadata["ml_models.family"] == "adaface"
    assert metadata["ml_models.architecture"] == "ir18"
    assert metadata["ml_models.dataset"] == "ms1mv2"
    assert metadata["ml_models.commercial_use"] == "allowed"
    assert metadata["ml_models.color_order"] == "BGR"
    assert metadata["ml_models.weights_licence"].startswith("MIT")
    assert "MS-Celeb-1M" in metadata["ml_models.training_data"]
    assert "Quality Adaptive Margin" in metadata["ml_models.citation"]


def test_the_graph_is_folded_and_takes_any_batch(converted: conversion.Converted) -> None:
    model = onnx.load(converted.output)
    operators = [node.op_type for node in model.graph.node]

    assert operators.count("BatchNormalization") == 8  # the first of every unit: behind zero padding it must stay
    assert "Identity" not in operators
    assert "Dropout" not in operators
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["output", "norm"]
    assert all(v.type.tensor_type.shape.dim[0].dim_param for v in (*model.graph.input, *model.graph.output))


@pytest.mark.parametrize("opset", [11, 20])
def test_other_opsets_work_too(source: Path, folder: Path, opset: int) -> None:
    done = conversion.convert(str(source), folder / "a.onnx", dataset="ms1mv2", color_order="RGB", opset=opset)

    assert onnx.load(done.output).opset_import[0].version == opset


def test_what_is_said_of_a_file_does_not_change_its_graph(
    converted: conversion.Converted, source: Path, folder: Path
) -> None:
    other = conversion.convert(str(source), folder / "other.onnx", dataset="webface4m", color_order="BGR")

    assert other.proof.sha256 != converted.proof.sha256
    assert graph_digest(other.output) == graph_digest(converted.output)


def test_the_norm_can_be_left_out(source: Path, folder: Path) -> None:
    result = run(source, "--dataset", "ms1mv2", "--color-order", "RGB", "--output", folder / "a.onnx", "--no-norm")

    assert [value.name for value in onnx.load(folder / "a.onnx").graph.output] == ["output"]
    assert json.loads(result["proof"]["metadata"]["ml_models.contract"])["norm_output"] is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--color-order", "RGB"], "dataset_required"),
        (["--dataset", "ms1mv2"], "color_order_required"),
        (["--dataset", "ms1mv2", "--color-order", "RGB", "--opset", "10"], "opset_unsupported"),
        (["--dataset", "ms1mv2", "--color-order", "RGB", "--architecture", "ir101"], "architecture_mismatch"),
        (["--dataset", "imagenet", "--color-order", "RGB"], "dataset_unknown"),
    ],
)
def test_a_refusal_names_its_code_and_leaves_nothing(
    source: Path, folder: Path, arguments: list[str], code: str
) -> None:
    with pytest.raises(CommandError, match=f"^{code}: "):
        run(source, "--output", folder / "a.onnx", *arguments)

    assert not list(folder.iterdir())


def test_an_output_folder_that_does_not_exist_is_refused(source: Path, folder: Path) -> None:
    with pytest.raises(CommandError, match=r"^write_failed: "):
        run(source, "--dataset", "ms1mv2", "--color-order", "RGB", "--output", folder / "absent" / "a.onnx")


def test_a_full_disk_leaves_nothing_and_keeps_the_file_before(source: Path, folder: Path) -> None:
    output = folder / "a.onnx"
    output.write_bytes(b"the file before")
    with full_disk(10_000_000), pytest.raises(ConversionError) as caught:
        conversion.convert(str(source), output, dataset="ms1mv2", color_order="RGB")

    assert caught.value.code == "write_failed"
    assert [path.name for path in folder.iterdir()] == ["a.onnx"]
    assert output.read_bytes() == b"the file before"


def test_a_file_that_answers_otherwise_than_its_source_is_refused(converted: conversion.Converted) -> None:
    contract = export.contract("BGR", with_norm=True)
    stranger = seeded_network("ir18", seed=2)

    def reference(values: Any) -> Any:
        with torch.inference_mode():
            return stranger(torch.from_numpy(values)).numpy()

    with pytest.raises(ConversionError, match=r"cosine .* 0\.9999 is required") as caught:
        proof.prove(converted.output, reference, contract, name="a.onnx", parameters=1, flops=1, metadata={})
    assert caught.value.code == "proof_failed"


def test_a_source_that_gives_nan_is_refused(converted: conversion.Converted) -> None:
    contract = export.contract("BGR", with_norm=True)

    with pytest.raises(ConversionError, match="does not give the features of its source"):
        proof.prove(
            converted.output,
            lambda values: np.full((len(values), 512), np.nan, np.float32),
            contract,
            name="a.onnx",
            parameters=1,
            flops=1,
            metadata={},
        )


def test_the_command_says_what_to_install_where_torch_is_missing(source: Path, folder: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        f"call_command('convert_adaface', {str(source)!r}, '--output', {str(folder / 'a.onnx')!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "packages_missing: torch is not installed" in done.stderr
    assert "requirements-convert.txt" in done.stderr


def test_the_bench_prints_its_two_ratios(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--architecture", "ir18", "--rounds", "2", "--json"])
    bench.main()

    result = json.loads(capsys.readouterr().out)
    assert result["folded_to_plain"] == pytest.approx(result["ms_plain"] / result["ms_folded"], rel=0.01)
    assert result["int8_to_float"] == pytest.approx(result["ms_folded"] / result["ms_int8"], rel=0.01)
    assert isinstance(result["vnni"], bool)
