"""Quantised files: mixed precision where measuring says so, and no file that stopped telling people apart.

Over 300 lines: all of it is one quantiser on the same networks, and the slow ones are made once.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from django.core.management import CommandError, call_command
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from ml_models.conversion import int8, onnx_graph
from ml_models.conversion.errors import ConversionError
from ml_models.conversion.faces import Aligner
from ml_models.conversion.int8 import static
from ml_models.conversion.separation import check_not_collapsed, embedder, read_faces, separation
from ml_models.engine.graph import read_metadata
from ml_models.engine.types import InputContract
from tests.support.disk import full_disk
from tests.support.made_people import CONTRACT, EACH, SUBJECTS, labelled, network, pictures, write_list


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
