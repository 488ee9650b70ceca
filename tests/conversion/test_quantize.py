import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from ml_models.conversion.errors import RangesMismatch
from ml_models.conversion.int8.static import QuantizationFile, measure_ranges, quantize
from ml_models.conversion.pack import BuiltFile, build
from ml_models.conversion.pack.catalogue import Catalogue
from ml_models.engine.embed import golden_crops
from ml_models.engine.graph import read_metadata

QUANTIZE = """
import sys; from pathlib import Path; from ml_models.conversion.int8.static import QuantizationFile, quantize
numbers = QuantizationFile.read(Path(sys.argv[2]))
quantize(Path(sys.argv[1]), numbers.ranges, Path(sys.argv[3]), exclude_nodes=numbers.float_nodes)
"""


@pytest.fixture(scope="module")
def float_model(pack: dict[str, BuiltFile]) -> Path:
    return pack["arcface_fp32"].path


@pytest.fixture(scope="module")
def numbers(catalogue: Catalogue) -> QuantizationFile:
    path = catalogue.entries["arcface_int8"].quantization
    assert path is not None
    return QuantizationFile.read(path)


def faces() -> NDArray[np.float32]:
    """The two portraits' crops as this network wants them: BGR, NCHW."""
    crops = golden_crops()[..., ::-1].astype(np.float32)
    return np.ascontiguousarray(((crops - 127.5) / 128).transpose(0, 3, 1, 2))


def embed(path: Path) -> NDArray[np.float32]:
    (output,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": faces()})
    return np.asarray(output / np.linalg.norm(output, axis=1, keepdims=True))


def test_the_ranges_file_gives_the_pinned_hash_without_any_image(
    catalogue: Catalogue, pack: dict[str, BuiltFile], pack_cache: Path, tmp_path: Path
) -> None:
    entry = catalogue.entries["arcface_int8"]
    original = entry.source.members[entry.member].sha256
    (tmp_path / original).write_bytes((pack_cache / original).read_bytes())  # the network, and nothing built
    (file,) = build(catalogue, ["arcface_int8"], tmp_path, print)
    assert file.built
    assert file.sha256 == entry.sha256


def test_two_processes_write_the_same_bytes(float_model: Path, catalogue: Catalogue, tmp_path: Path) -> None:
    written = []
    for seed in ("1", "2"):
        output = tmp_path / f"{seed}.onnx"
        command = [sys.executable, "-c", QUANTIZE, str(float_model)]
        command += [str(catalogue.entries["arcface_int8"].quantization), str(output)]
        root = Path(__file__).resolve().parents[2]
        subprocess.run(command, check=True, cwd=root, env={"PYTHONHASHSEED": seed, "PATH": ""})
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_the_quantised_network_still_tells_the_portraits_apart_as_the_float_one(pack: dict[str, BuiltFile]) -> None:
    before, after = embed(pack["arcface_fp32"].path), embed(pack["arcface_int8"].path)
    assert (before * after).sum(1).min() > 0.95
    assert abs(before[0] @ before[1] - after[0] @ after[1]) < 0.05


def test_excluded_nodes_stay_in_float(pack: dict[str, BuiltFile], numbers: QuantizationFile) -> None:
    graph = onnx.load(pack["arcface_int8"].path).graph
    producers = {node.output[0]: node.op_type for node in graph.node}
    convolutions = {n.name: producers.get(n.input[1]) for n in graph.node if n.op_type == "Conv"}
    in_float = {name for name, producer in convolutions.items() if producer != "DequantizeLinear"}
    assert in_float == set(numbers.float_nodes)


def test_measured_ranges_enclose_what_the_network_does(float_model: Path) -> None:
    ranges = measure_ranges(float_model, [faces()[:1], faces()[1:]])
    low, high = ranges["input"]
    assert low <= faces().min()
    assert high >= faces().max()
    np.testing.assert_allclose((low, high), (faces().min(), faces().max()), rtol=1e-5)
    (output,) = onnxruntime.InferenceSession(str(float_model)).run(None, {"input": faces()})
    assert any(np.allclose(r, (output.min(), output.max()), rtol=1e-3) for r in ranges.values())


def test_the_numbers_survive_their_file(numbers: QuantizationFile, tmp_path: Path) -> None:
    numbers.write(tmp_path / "numbers.json")
    assert QuantizationFile.read(tmp_path / "numbers.json") == numbers
    assert set(json.loads((tmp_path / "numbers.json").read_text())) == {"measured_on", "float_nodes", "ranges"}


def test_numbers_of_another_network_are_refused(float_model: Path, numbers: QuantizationFile, tmp_path: Path) -> None:
    fewer = replace(numbers, ranges=dict(list(numbers.ranges.items())[1:]))
    with pytest.raises(RangesMismatch):
        quantize(float_model, fewer.ranges, tmp_path / "out.onnx")
    with pytest.raises(RangesMismatch):
        quantize(float_model, numbers.ranges, tmp_path / "out.onnx", exclude_nodes=["Conv_of_another_network"])
    assert not (tmp_path / "out.onnx").exists()


def test_the_file_says_how_it_was_made(pack: dict[str, BuiltFile]) -> None:
    assert read_metadata(pack["arcface_int8"].path)["ml_models.steps"] == "dynamic_batch quantize_int8"
