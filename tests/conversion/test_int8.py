"""Quantised files: mixed precision where measuring says so, and no file that stopped telling people apart.

Over 300 lines: all of it is one quantiser on the same networks, and the slow ones are made once.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from django.core.management import CommandError, call_command
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ml_models.conversion import int8, onnx_graph
from ml_models.conversion.errors import ConversionError
from ml_models.conversion.faces import Aligner
from ml_models.conversion.int8 import static
from ml_models.conversion.separation import LabelledFaces, check_not_collapsed, embedder, read_faces, separation
from ml_models.engine.graph import read_metadata
from ml_models.engine.types import InputContract, canonical_json
from ml_models.evaluation.lists.pairs import Comparisons, PairList
from tests.support.disk import full_disk
from tests.support.networks import contract

SUBJECTS, EACH, DIMENSION = 40, 4, 32
CONTRACT = contract(dimension=DIMENSION)


def network(path: Path, *, offset: float = 0.0, fragile: bool = False) -> Path:
    """Blocks of pixels through three random layers. With `offset`, the last adds and a Sub takes away a number so
    large that eight bits cannot hold what lies between; `fragile` does so to every layer."""
    rng = np.random.default_rng(0)
    widths, nodes, weights, last = [3 * 14 * 14, 64, 64, DIMENSION], [], [], "flat"
    for index in range(3):
        big = offset if index == 2 or fragile else 0.0
        kernel = rng.normal(size=(widths[index], widths[index + 1])) / np.sqrt(widths[index])
        bias = np.full(widths[index + 1], big)
        for name, value in (("w", kernel), ("b", bias), ("o", np.array([big]))):
            weights.append(numpy_helper.from_array(value.astype(np.float32), f"{name}{index}"))
        end = "output" if index == 2 else f"act{index}"
        nodes.append(helper.make_node("Gemm", [last, f"w{index}", f"b{index}"], [f"gemm{index}"]))
        nodes.append(helper.make_node("Sub", [f"gemm{index}", f"o{index}"], [end]))
        last = end
    pool = helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8])
    graph = helper.make_graph(
        [pool, helper.make_node("Flatten", ["pooled"], ["flat"]), *nodes],
        "three layers",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", DIMENSION])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(onnx_graph.serialize(model, {"ml_models.contract": canonical_json(CONTRACT.to_json())}))
    return path


def pictures(seed: int = 0) -> NDArray[np.uint8]:
    """Synthetic "people": a pattern each, with noise that differs from picture to picture."""
    rng = np.random.default_rng(seed)
    people = np.repeat(rng.integers(40, 216, (SUBJECTS, 14, 14, 3)), EACH, axis=0)
    small = np.clip(people + rng.normal(0, 12, people.shape), 0, 255).astype(np.uint8)
    return np.stack([cv2.resize(image, (112, 112), interpolation=cv2.INTER_NEAREST) for image in small]).astype(
        np.uint8
    )


def labelled(kind: Any = "frontal") -> LabelledFaces:
    owner = np.repeat(np.arange(SUBJECTS), EACH).astype(np.int32)
    a, b = (side.astype(np.int32) for side in np.triu_indices(len(owner), k=1))
    keep = (owner[a] == owner[b]) | (a % 7 == 0)
    listed = Comparisons(a[keep], b[keep], owner[a[keep]], owner[b[keep]], np.zeros(int(keep.sum()), np.int32))
    names = tuple(f"made/{i}" for i in range(SUBJECTS))
    pairs = PairList("made/pairs", tuple(Path(f"{i}.png") for i in range(len(owner))), names, owner, listed)
    return LabelledFaces("made/pairs", kind, pairs, pictures(), np.ones(len(owner), bool))


def unit(table: NDArray[np.float64]) -> NDArray[np.float32]:
    return (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)


def people_vectors(noise: float, seed: int = 1) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.normal(size=(SUBJECTS, 64)), EACH, axis=0) + noise * rng.normal(size=(SUBJECTS * EACH, 64))


def test_a_network_compared_with_itself_loses_nothing() -> None:
    table = unit(people_vectors(1.2))
    result = separation(labelled(), table, table)

    assert result.change == 0
    assert result.change_low == 0
    assert result.passed
    assert result.mated == SUBJECTS * EACH * (EACH - 1) // 2
    assert result.non_mated == SUBJECTS * (SUBJECTS - 1) // 2 * EACH * EACH  # all strangers, not the listed ones


def test_a_change_that_scales_every_score_is_judged_at_its_own_threshold() -> None:
    table = people_vectors(1.2)
    shifted = unit(np.hstack([table, np.full((len(table), 1), 8.0)]))  # every cosine is nearer to 1, the order the same

    assert separation(labelled(), unit(table), shifted).tar_changed > 0.5


def test_noise_that_costs_true_accepts_is_refused_with_the_figures() -> None:
    plain = people_vectors(1.0)
    worse = plain + 1.5 * np.random.default_rng(2).normal(size=plain.shape)

    result = separation(labelled(), unit(plain), unit(worse))

    assert not result.passed
    assert result.change_low < result.change < -1
    assert "TAR at FMR 0.1 %" in str(result)


def test_profile_faces_may_lose_three_points_and_frontal_ones_one() -> None:
    table = unit(people_vectors(1.2))

    assert separation(labelled("frontal"), table, table).allowed == -1
    assert separation(labelled("profile"), table, table).allowed == -3


def test_pictures_without_a_face_are_left_out_of_both_sides() -> None:
    faces = labelled()
    faces.acquired[:EACH] = False  # nobody of the first subject
    table = unit(people_vectors(1.2))

    assert separation(faces, table, table).mated == (SUBJECTS - 1) * EACH * (EACH - 1) // 2


def test_a_sound_network_passes_and_says_what_was_measured(tmp_path: Path) -> None:
    model, output = network(tmp_path / "net.onnx"), tmp_path / "net_int8.onnx"

    done = int8.quantize_model(model, output, CONTRACT, read_metadata(model), pictures(seed=5), [labelled()])

    assert done.proven
    assert done.attempts[-1].separations[0].passed
    assert done.layers == 2  # of three layers the first stays in float
    assert not done.costs  # the other two cost too little to ask which
    first, *_ = static.quantisable(static.prepare(model))
    assert first in read_metadata(output)["ml_models.quantization"]
    metadata = read_metadata(output)
    assert metadata["ml_models.separation"] == "proven"
    assert metadata["ml_models.precision"] == "int8"
    assert json.loads(metadata["ml_models.contract"]) == CONTRACT.to_json()
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(output).graph.node}
    assert json.loads((tmp_path / "net_int8.onnx.proof.json").read_text()) == done.to_json()
    assert done.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()


def test_the_same_faces_give_the_same_bytes(tmp_path: Path) -> None:
    model = network(tmp_path / "net.onnx")
    for name in ("a.onnx", "b.onnx"):
        int8.quantize_model(model, tmp_path / name, CONTRACT, {}, pictures(seed=5))

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_without_a_list_the_file_is_marked_as_not_proven(tmp_path: Path) -> None:
    model = network(tmp_path / "net.onnx")

    done = int8.quantize_model(model, tmp_path / "a.onnx", CONTRACT, {}, pictures(seed=5))

    assert not done.proven
    assert read_metadata(tmp_path / "a.onnx")["ml_models.separation"] == "not measured"


def test_a_layer_that_eight_bits_cannot_hold_stays_in_float(tmp_path: Path) -> None:
    model = network(tmp_path / "net.onnx", offset=3000.0)

    done = int8.quantize_model(model, tmp_path / "a.onnx", CONTRACT, {}, pictures(seed=5), [labelled()])

    _, *others, last = static.quantisable(static.prepare(model))
    assert set(done.costs) == {*others, last}
    assert done.attempts[-1].float_nodes == (last,)
    assert done.costs[last] > 0.1
    assert done.attempts[-1].cosine > 0.99


def test_a_network_that_cannot_be_quantised_is_refused_with_what_its_layers_cost(tmp_path: Path) -> None:
    model = network(tmp_path / "net.onnx", offset=3000.0, fragile=True)

    with pytest.raises(ConversionError, match=r"Gemm_.* costs") as caught:
        int8.quantize_model(model, tmp_path / "a.onnx", CONTRACT, {}, pictures(seed=5), [labelled()])

    assert caught.value.code == "too_costly"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_a_collapsed_file_is_refused(tmp_path: Path) -> None:
    model, collapsed = network(tmp_path / "net.onnx", offset=3000.0), tmp_path / "collapsed.onnx"
    values = (pictures(seed=5).transpose(0, 3, 1, 2) - np.float32(127.5)) / np.float32(128)
    ranges = static.measure_ranges(model, [values])
    static.quantize(model, ranges | {"gemm2": (0.0, 6010.0)}, collapsed)

    assert check_not_collapsed(embedder(model, CONTRACT), pictures()) < 0.5
    with pytest.raises(ConversionError, match="nearly the same vector") as caught:
        check_not_collapsed(embedder(collapsed, CONTRACT), pictures())
    assert caught.value.code == "collapsed"


def test_a_network_that_was_never_trained_may_be_as_blind_as_its_float_form() -> None:
    table = unit(people_vectors(1.0) + 4)
    assert (table @ table.T).mean() > 0.85

    assert check_not_collapsed(lambda crops: table, pictures(), plain=0.88) > 0.85
    with pytest.raises(ConversionError):
        check_not_collapsed(lambda crops: table, pictures(), plain=0.5)


def test_a_full_disk_leaves_nothing_and_keeps_the_file_before(tmp_path: Path) -> None:
    model, output = network(tmp_path / "net.onnx"), tmp_path / "int8.onnx"
    output.write_bytes(b"the file before")

    with full_disk(10_000), pytest.raises(ConversionError) as caught:
        int8.quantize_model(model, output, CONTRACT, {}, pictures(seed=5))

    assert caught.value.code == "write_failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8.onnx", "net.onnx"]
    assert output.read_bytes() == b"the file before"


@pytest.mark.parametrize("location", ["w0.bin", "../w0.bin", "/etc/hostname"])
def test_a_network_with_weights_in_another_file_is_refused_and_nothing_of_it_read(
    tmp_path: Path, location: str
) -> None:
    graph = onnx.load(network(tmp_path / "net.onnx"))
    weights = graph.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    (tmp_path / "net.onnx").write_bytes(graph.SerializeToString())

    with pytest.raises(ConversionError, match="another file") as caught:
        int8.quantize_model(tmp_path / "net.onnx", tmp_path / "a.onnx", CONTRACT, {}, pictures(seed=5))
    assert caught.value.code == "unsupported_model"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_too_few_faces_are_refused(tmp_path: Path) -> None:
    model = network(tmp_path / "net.onnx")

    with pytest.raises(ConversionError) as caught:
        int8.quantize_model(model, tmp_path / "a.onnx", CONTRACT, {}, pictures()[:5])

    assert caught.value.code == "calibration_too_small"


def write_list(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    for index, crop in enumerate(pictures()):
        name = f"{index // EACH:03d}_{index % EACH}.png"
        cv2.imwrite(str(folder / "images" / name), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["same", "a", "b"])
        for subject in range(SUBJECTS):
            rows.writerow([1, f"{subject:03d}_0.png", f"{subject:03d}_1.png"])
            rows.writerow([0, f"{subject:03d}_2.png", f"{(subject + 1) % SUBJECTS:03d}_3.png"])
    return folder / "pairs.csv"


def test_the_command_measures_proves_and_reports(tmp_path: Path) -> None:
    model, pairs = network(tmp_path / "net.onnx"), write_list(tmp_path / "made")
    out = io.StringIO()
    arguments = [str(model), "--output", str(tmp_path / "int8.onnx"), "--calibration", str(tmp_path / "made")]
    call_command("quantize_model", *arguments, "--pairs", str(pairs), "--json", stdout=out, stderr=io.StringIO())

    result = json.loads(out.getvalue())
    assert result["separation"] == "proven"
    assert result["attempts"][-1]["separations"][0]["passed"] is True


def test_the_command_wants_a_list(tmp_path: Path) -> None:
    model = network(tmp_path / "net.onnx")

    with pytest.raises(CommandError, match=r"^pairs_required: "):
        call_command("quantize_model", str(model), "--output", "a.onnx", "--calibration", str(tmp_path))


def test_pictures_that_are_no_crops_need_the_detector(tmp_path: Path) -> None:
    def absent() -> Path:
        raise ConversionError("detector_required", "none")

    pairs = write_list(tmp_path / "made")
    assert read_faces(pairs, "frontal", Aligner(absent)).acquired.all()
    cv2.imwrite(str(tmp_path / "made" / "images" / "big.png"), np.zeros((300, 300, 3), np.uint8))
    with pytest.raises(ConversionError) as caught:
        Aligner(absent).folder(tmp_path / "made")
    assert caught.value.code == "detector_required"


def test_weights_too_small_to_count_become_zero(tmp_path: Path) -> None:
    model = onnx.load(network(tmp_path / "net.onnx"))
    kernel = numpy_helper.to_array(model.graph.initializer[0]).copy()
    kernel[0, :5] = 1e-39
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "w0"))

    assert onnx_graph.flush_tiny_weights(model) == 5
    assert onnx_graph.flush_tiny_weights(model) == 0
    assert not numpy_helper.to_array(model.graph.initializer[0])[0, :5].any()


def test_the_contract_of_the_file_is_needed(tmp_path: Path) -> None:
    assert isinstance(CONTRACT, InputContract)
    model = onnx.load(network(tmp_path / "net.onnx"))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")

    with pytest.raises(CommandError, match=r"^contract_missing: "):
        call_command(
            "quantize_model", str(tmp_path / "bare.onnx"), "--output", "a", "--calibration", "b", "--pairs", "c"
        )
