"""`import_model`: other people's files in every shape they come in, repaired and proven, or refused."""

from __future__ import annotations

import csv
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

from ml_models.conversion.errors import ConversionError
from ml_models.conversion.faces import Aligner
from ml_models.conversion.importing import import_model
from ml_models.conversion.pack import BuiltFile
from ml_models.conversion.separation import LabelledFaces, read_faces
from ml_models.engine.embed import Embedder, golden_crops
from ml_models.engine.graph import read_metadata, require_standard
from ml_models.engine.types import InputContract
from tests.support.disk import full_disk

SUBJECTS, EACH, DIMENSION = 12, 3, 64


def foreign(
    path: Path,
    *,
    batch: int | str = 1,
    layout: str = "NCHW",
    half: bool = False,
    weights_as_inputs: bool = False,
    head: str = "",
    external: str = "",
    outputs: int = 1,
) -> Path:
    """A network as strangers export it. It averages each picture's blocks; one colour counts, and a clip at ±1 of the
    input makes it blind to pictures that were not normalised."""
    rng = np.random.default_rng(0)
    kind = np.float16 if half else np.float32
    proto = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    shape = [batch, 3, 112, 112] if layout == "NCHW" else [batch, 112, 112, 3]
    kernel = rng.normal(size=(3 * 14 * 14, DIMENSION)) * np.repeat([1.0, 0.3, 0.05], 14 * 14)[:, None]
    tensors = {"w": kernel, "b": np.zeros(DIMENSION), "low": np.array(-1.0), "high": np.array(1.0)}
    weights = [numpy_helper.from_array(value.astype(kind), name) for name, value in tensors.items()]
    nodes = [helper.make_node("Transpose", ["img"], ["chw"], perm=[0, 3, 1, 2])] if layout == "NHWC" else []
    nodes += [
        helper.make_node("Clip", ["chw" if layout == "NHWC" else "img", "low", "high"], ["clipped"]),
        helper.make_node("AveragePool", ["clipped"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["output"]),  # its own tensors are called as ours are
    ]
    last = "output"
    if head == "div":
        nodes.append(helper.make_node("ReduceL2", ["output"], ["length"], axes=[1], keepdims=1))
        nodes.append(helper.make_node("Expand", ["length", "shape"], ["wide"]))
        nodes.append(helper.make_node("Div", ["output", "wide"], ["unit"]))
        weights.append(numpy_helper.from_array(np.array([1, DIMENSION]), "shape"))
        last = "unit"
    elif head == "lp":
        nodes.append(helper.make_node("LpNormalization", ["output"], ["unit"], axis=1, p=2))
        last = "unit"
    ends = [helper.make_tensor_value_info(last, proto, [batch, DIMENSION])]
    if outputs == 2:
        nodes.append(helper.make_node("Sigmoid", ["flat"], ["mask"]))
        ends.append(helper.make_tensor_value_info("mask", proto, [batch, 588]))
    inputs = [helper.make_tensor_value_info("img", proto, shape)]
    if weights_as_inputs:
        inputs += [helper.make_tensor_value_info(w.name, w.data_type, list(w.dims)) for w in weights]
    model = helper.make_model(
        helper.make_graph(nodes, "foreign", inputs, ends, weights),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    if external:
        for tensor in model.graph.initializer:
            if tensor.name == "w":
                (path.parent / "w.bin").write_bytes(tensor.raw_data)
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value=external)
    path.write_bytes(model.SerializeToString())
    return path


def people() -> NDArray[np.uint8]:
    rng = np.random.default_rng(3)
    patterns = np.repeat(rng.integers(30, 226, (SUBJECTS, 14, 14, 3)), EACH, axis=0)
    small = np.clip(patterns + rng.normal(0, 35, patterns.shape), 0, 255).astype(np.uint8)
    return np.stack([cv2.resize(picture, (112, 112), interpolation=cv2.INTER_NEAREST) for picture in small])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "images").mkdir(parents=True)
    for index, crop in enumerate(people()):
        name = f"{index // EACH:03d}_{index % EACH}.png"
        cv2.imwrite(str(folder / "images" / name), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["same", "a", "b"])
        for i in range(SUBJECTS * EACH):
            for j in range(i):
                a, b = f"{i // EACH:03d}_{i % EACH}.png", f"{j // EACH:03d}_{j % EACH}.png"
                rows.writerow([int(i // EACH == j // EACH), a, b])
    return folder / "pairs.csv"


def no_detector() -> Path:
    raise ConversionError("detector_required", "every picture here is aligned")


def faces(pairs: Path) -> LabelledFaces:
    return read_faces(pairs, "frontal", Aligner(no_detector))


KNOWN: dict[str, Any] = {"color_order": "BGR", "normalisation": (127.5, 127.5), "facts": {"ml_models.source": "made"}}


@pytest.mark.parametrize(
    ("shape", "repair"),
    [
        ({"batch": 1}, "the batch was fixed"),
        ({"batch": 2}, "the batch was fixed"),
        ({"layout": "NHWC"}, "the batch was fixed"),
        ({"half": True}, "float16 became float32"),
        ({"weights_as_inputs": True}, "4 weights were listed as inputs"),
        ({"head": "div"}, "the head normalised the feature and was cut off"),
        ({"head": "lp"}, "the head normalised the feature and was cut off"),
        ({"external": "w.bin"}, "img is now called input"),
    ],
)
def test_each_odd_form_is_repaired_and_answers_as_before(tmp_path: Path, shape: dict[str, Any], repair: str) -> None:
    done = import_model(foreign(tmp_path / "odd.onnx", **shape), tmp_path / "ours.onnx", **KNOWN)

    assert any(repair in text for text in done.repairs)
    assert done.proof.min_cosine >= 0.9999
    assert {a.batch for a in done.proof.agreements} == {1, 8}
    embeddings = Embedder(done.output, done.contract).embed(golden_crops())  # the engine checks names and batch
    assert embeddings.vectors.shape == (2, DIMENSION)
    assert abs(embeddings.norms[0] - embeddings.norms[1]) > 1e-3  # the length is there, head or no head
    assert InputContract.from_json(json.loads(read_metadata(done.output)["ml_models.contract"])) == done.contract


def test_colour_order_and_normalisation_are_found_by_evidence(tmp_path: Path, pairs: Path) -> None:
    done = import_model(foreign(tmp_path / "odd.onnx"), tmp_path / "ours.onnx", facts={}, lists=[faces(pairs)])

    assert len(done.trials) == 8
    assert [trial.eer for trial in done.trials] == sorted(trial.eer for trial in done.trials)
    # raw and 0–1 pixels run into the clip or leave half of it unused
    assert done.contract.mean == 127.5
    assert {(t.color_order, t.mean, t.std) for t in done.trials} >= {("RGB", 0.0, 1.0), ("BGR", 127.5, 128.0)}


def test_what_the_caller_knows_is_not_tried(tmp_path: Path, pairs: Path) -> None:
    done = import_model(
        foreign(tmp_path / "odd.onnx"), tmp_path / "ours.onnx", facts={}, color_order="BGR", lists=[faces(pairs)]
    )

    assert {trial.color_order for trial in done.trials} == {"BGR"}


def test_the_real_mobilefacenet_is_found_from_its_tflite_file_alone(
    pack_cache: Path, pack: dict[str, BuiltFile]
) -> None:
    """Its packaged contract is the proof: RGB, (x − 127.5) / 128."""
    evaluation = Path(__file__).resolve().parents[3] / "shared" / "data" / "dev_eval" / "london"
    if not evaluation.is_dir():
        pytest.skip("the evaluation faces are not here")
    source = next(path for path in pack_cache.iterdir() if path.name.startswith("d8ba40c0127f"))
    tflite, output = pack_cache.parent / "mobilefacenet-import.tflite", pack_cache.parent / "imported.onnx"
    tflite.write_bytes(source.read_bytes())
    try:
        lists = [read_faces(evaluation / "pairs.csv", "frontal", Aligner(lambda: pack["yunet_2023mar"].path))]
        done = import_model(tflite, output, facts={}, lists=lists)
    finally:
        for path in (tflite, output, output.with_name("imported.onnx.proof.json")):
            path.unlink(missing_ok=True)

    assert done.contract.color_order == "RGB"
    assert done.contract.mean == 127.5
    assert done.proof.min_cosine > 0.99999


def test_a_network_that_tells_nobody_apart_is_refused(tmp_path: Path, pairs: Path) -> None:
    shuffled = faces(pairs)
    np.random.default_rng(1).shuffle(shuffled.crops)

    with pytest.raises(ConversionError) as caught:
        import_model(foreign(tmp_path / "odd.onnx"), tmp_path / "ours.onnx", facts={}, lists=[shuffled])

    assert caught.value.code == "no_evidence"
    assert not (tmp_path / "ours.onnx").exists()


@pytest.mark.parametrize("place", ["../w.bin", "/etc/hostname", "sub/../../w.bin"])
def test_external_data_outside_the_folder_is_refused_and_not_read(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 4 * 588 * DIMENSION)

    with pytest.raises(ConversionError) as caught:
        import_model(foreign(folder / "odd.onnx", external=place), tmp_path / "ours.onnx", **KNOWN)

    assert caught.value.code == "external_data_outside"
    assert not (tmp_path / "ours.onnx").exists()


def test_external_data_behind_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 4 * 588 * DIMENSION)
    (folder / "link").symlink_to(tmp_path / "secret")

    with pytest.raises(ConversionError) as caught:
        import_model(foreign(folder / "odd.onnx", external="link"), tmp_path / "ours.onnx", **KNOWN)

    assert caught.value.code == "external_data_outside"


def test_external_data_that_is_missing_or_short_is_refused(tmp_path: Path) -> None:
    source = foreign(tmp_path / "odd.onnx", external="absent.bin")

    with pytest.raises(ConversionError) as caught:
        import_model(source, tmp_path / "ours.onnx", **KNOWN)

    assert caught.value.code == "external_data_missing"


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    source = foreign(tmp_path / "odd.onnx")

    with full_disk(10_000), pytest.raises(ConversionError) as caught:
        import_model(source, tmp_path / "ours.onnx", **KNOWN)

    assert caught.value.code == "write_failed"
    assert [path.name for path in tmp_path.iterdir()] == ["odd.onnx"]


def with_slopes(path: Path, slopes: tuple[int, ...], channels: int = 3, *, constant: bool = False) -> Path:
    """A network that begins with a PReLU over so many channels, each with another slope, on 112 pixels a row."""
    rng = np.random.default_rng(0)
    values = np.linspace(0.1, 0.9, int(np.prod(slopes))).astype(np.float32).reshape(slopes)
    tensors = {
        "k": rng.normal(size=(channels, 3, 1, 1)),
        "w": rng.normal(size=(channels * 14 * 14, DIMENSION)),
        "b": np.zeros(DIMENSION),
    }
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()]
    nodes = [
        helper.make_node("Conv", ["img", "k"], ["maps"]),
        helper.make_node("PRelu", ["maps", "slopes"], ["bent"], name="relu0"),
        helper.make_node("AveragePool", ["bent"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["feature"]),
    ]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["slopes"], value=numpy_helper.from_array(values)))
    else:
        weights.append(numpy_helper.from_array(values, "slopes"))
    ends = [helper.make_tensor_value_info("feature", TensorProto.FLOAT, [1, DIMENSION])]
    start = [helper.make_tensor_value_info("img", TensorProto.FLOAT, [1, 3, 112, 112])]
    graph = helper.make_graph(nodes, "sloped", start, ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def changed(path: Path, change: Any) -> Path:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def refused(source: Path) -> ConversionError:
    output = source.with_name("ours.onnx")
    with pytest.raises(ConversionError) as caught:
        import_model(source, output, **KNOWN)
    assert not output.exists()
    return caught.value


@pytest.mark.parametrize(("slopes", "constant"), [((8,), False), ((1, 8), False), ((8,), True)])
def test_slopes_that_only_the_channels_can_mean_are_laid_along_them(
    tmp_path: Path, slopes: tuple[int, ...], constant: bool
) -> None:
    done = import_model(
        with_slopes(tmp_path / "odd.onnx", slopes, 8, constant=constant), tmp_path / "ours.onnx", **KNOWN
    )
    right = import_model(with_slopes(tmp_path / "right.onnx", (8, 1, 1), 8), tmp_path / "same.onnx", **KNOWN)

    assert "the slopes of 1 PReLUs were laid along the width, not the channels" in done.repairs
    assert not any("slopes" in repair for repair in right.repairs)
    repaired, reshaped = (Embedder(one.output, one.contract).embed(golden_crops()).vectors for one in (done, right))
    np.testing.assert_allclose(repaired, reshaped, atol=1e-6)


@pytest.mark.parametrize(
    ("slopes", "channels", "message"),
    [
        ((112,), 112, "whether one for each channel is meant cannot be told"),
        ((5,), 8, "neither one for each channel nor one"),
    ],
)
def test_slopes_that_fit_two_axes_or_none_are_refused(
    tmp_path: Path, slopes: tuple[int, ...], channels: int, message: str
) -> None:
    error = refused(with_slopes(tmp_path / "odd.onnx", slopes, channels))
    assert error.code == "unsupported_model"
    assert f"relu0 has slopes of shape [{slopes[0]}]" in str(error)
    assert message in str(error)


def test_weights_kept_in_bfloat16_become_float32_and_answer_as_before(tmp_path: Path) -> None:
    def keep_in_bfloat16(model: onnx.ModelProto) -> None:
        (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "w")
        values = numpy_helper.to_array(weights)
        weights.CopyFrom(helper.make_tensor("w", TensorProto.BFLOAT16, values.shape, values.ravel().tolist()))
        model.graph.node.insert(0, helper.make_node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT))
        model.graph.node[-1].input[1] = "wide"

    done = import_model(changed(foreign(tmp_path / "odd.onnx"), keep_in_bfloat16), tmp_path / "ours.onnx", **KNOWN)
    assert "bfloat16 became float32" in done.repairs
    assert {tensor.data_type for tensor in onnx.load(done.output).graph.initializer} == {TensorProto.FLOAT}
    assert done.proof.min_cosine >= 0.9999


def test_a_network_that_computes_in_bfloat16_is_refused_in_plain_words(tmp_path: Path) -> None:
    def compute_in_bfloat16(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            numbers = values.ravel().tolist()
            tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.BFLOAT16, values.shape, numbers))
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.elem_type = TensorProto.BFLOAT16

    error = refused(changed(foreign(tmp_path / "odd.onnx"), compute_in_bfloat16))
    assert error.code == "unsupported_model"
    assert "it computes in bfloat16. Export it in float32" in str(error)


@pytest.mark.parametrize(
    ("operator", "domain"),
    [("Foo", ""), ("Foo", "custom.ops"), ("FaceMagic", "com.microsoft"), ("FusedConv", "com.microsoft")],
)
def test_an_operator_that_nothing_here_runs_is_named_with_its_domain(
    tmp_path: Path, operator: str, domain: str
) -> None:
    def use(model: onnx.ModelProto) -> None:
        model.graph.node.insert(0, helper.make_node(operator, ["img"], ["seen"], domain=domain))
        model.graph.node[1].input[0] = "seen"
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    error = refused(changed(foreign(tmp_path / "odd.onnx"), use))
    assert error.code == "unsupported_model"
    assert operator in str(error)
    assert f"(domain {domain or 'ai.onnx'})" in str(error)


def test_a_network_of_a_later_opset_is_refused_with_the_one_to_take(tmp_path: Path) -> None:
    def date_forward(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 99

    assert "opset 99" in str(refused(changed(foreign(tmp_path / "odd.onnx"), date_forward)))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "run git lfs pull"),
        (b'{"error": "log in"}', "a text"),
        (b"PK\x03\x04" + bytes(60), "a zip archive"),
        (bytes(257) + b"ustar" + bytes(250), "a tar archive"),
        (b"", "empty"),
    ],
)
def test_what_is_no_network_is_told_for_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    source = tmp_path / "network.onnx"
    source.write_bytes(content)
    error = refused(source)
    assert error.code == "unsupported_model"
    assert "is not an ONNX model" in str(error)
    assert what in str(error)


@pytest.mark.parametrize("keep", [0, 10, 3000])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    source = foreign(tmp_path / "odd.onnx")
    source.write_bytes(source.read_bytes()[:keep])

    with pytest.raises(ConversionError) as caught:
        import_model(source, tmp_path / "ours.onnx", **KNOWN)

    assert caught.value.code == "unsupported_model"


@pytest.mark.parametrize(
    ("key", "value"),
    [("offset", "abc"), ("offset", "-1"), ("length", "-5"), ("location", "w\0.bin"), ("location", "w" * 5000)],
)
def test_a_place_of_weights_that_is_none_is_refused(tmp_path: Path, key: str, value: str) -> None:
    def name_no_place(model: onnx.ModelProto) -> None:
        (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "w")
        kept = {entry.key: entry.value for entry in weights.external_data}
        del weights.external_data[:]
        for name, said in {**kept, key: value}.items():
            weights.external_data.add(key=name, value=said)

    error = refused(changed_unread(foreign(tmp_path / "odd.onnx", external="w.bin"), name_no_place))
    assert (error.code, "names no place" in str(error)) == ("external_data_missing", True)


def changed_unread(path: Path, change: Any) -> Path:
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def misshapen(tensor: TensorProto) -> None:
    del tensor.dims[1:]


def of_no_kind(tensor: TensorProto) -> None:
    tensor.data_type = 99


def no_numbers(tensor: TensorProto) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.full((588, DIMENSION), np.nan, np.float32), "w"))


@pytest.mark.parametrize(
    ("change", "says"), [(misshapen, "do not fit"), (of_no_kind, "do not fit"), (no_numbers, "NaN")]
)
def test_weights_that_are_none_are_named(tmp_path: Path, change: Any, says: str) -> None:
    source = changed(foreign(tmp_path / "odd.onnx"), lambda model: change(model.graph.initializer[0]))
    assert says in str(refused(source))
    assert " w" in str(refused(source))


def of_a_huge_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**40


def of_no_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = -(2**40)


def of_an_unknown_kind(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 83


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (of_a_huge_batch, "a batch of 1099511627776"),
        (of_no_opset, "opset -1"),
        (of_an_unknown_kind, "The input is kind 83"),
    ],
)
def test_a_number_beyond_all_reason_is_named(tmp_path: Path, change: Any, says: str) -> None:
    assert says in str(refused(changed(foreign(tmp_path / "odd.onnx"), change)))


@pytest.mark.parametrize("name", [b"AveragePool", b"kernel_shape"])
def test_a_name_that_is_no_text_is_refused(tmp_path: Path, name: bytes) -> None:
    source = foreign(tmp_path / "odd.onnx")
    source.write_bytes(source.read_bytes().replace(name, b"\xff" + name[1:], 1))
    assert refused(source).code == "unsupported_model"


def test_a_batch_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    source = foreign(tmp_path / "odd.onnx", batch="batch")
    source.write_bytes(source.read_bytes().replace(b"\x05batch", b"\x05\xb0atch"))
    assert "no text" in str(refused(source))


def test_an_output_that_says_it_is_one_number_is_believed_by_what_it_gives(tmp_path: Path) -> None:
    def say_one(model: onnx.ModelProto) -> None:
        del model.graph.output[0].type.tensor_type.shape.dim[:]

    source = changed(foreign(tmp_path / "odd.onnx"), say_one)
    assert import_model(source, tmp_path / "ours.onnx", **KNOWN).contract.dimension == DIMENSION


@pytest.mark.parametrize("name", ["img", "w", ""])
def test_an_output_that_no_operator_computes_is_refused(tmp_path: Path, name: str) -> None:
    def end_there(model: onnx.ModelProto) -> None:
        del model.graph.output[1 if name else 0 :]
        for output in model.graph.output:
            output.name = name

    assert "output" in str(refused(changed(foreign(tmp_path / "odd.onnx"), end_there)))


def test_a_networks_own_functions_are_written_out_and_its_training_left_out(tmp_path: Path) -> None:
    """What no published file may have: PyTorch's newer exporter writes functions."""

    def with_function(model: onnx.ModelProto) -> None:
        nodes = [helper.make_node("Neg", ["x"], ["minus"]), helper.make_node("Neg", ["minus"], ["y"])]
        model.functions.append(helper.make_function("own", "Same", ["x"], ["y"], nodes, [helper.make_opsetid("", 13)]))
        model.opset_import.append(helper.make_opsetid("own", 1))
        model.graph.node.insert(0, helper.make_node("Same", ["img"], ["same"], domain="own"))
        model.graph.node[1].input[0] = "same"
        model.training_info.add()

    source = changed(foreign(tmp_path / "odd.onnx"), with_function)
    done = import_model(source, tmp_path / "ours.onnx", **KNOWN)
    assert {"its own functions were written out", "what belongs to training was left out"} <= set(done.repairs)
    require_standard(done.output)


def test_several_outputs_need_a_name(tmp_path: Path) -> None:
    source = foreign(tmp_path / "odd.onnx", outputs=2)

    with pytest.raises(ConversionError, match="output, mask"):
        import_model(source, tmp_path / "ours.onnx", **KNOWN)
    assert import_model(source, tmp_path / "ours.onnx", output_name="output", **KNOWN).contract.dimension == DIMENSION


def test_nothing_is_assumed_without_evidence(tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        import_model(foreign(tmp_path / "odd.onnx"), tmp_path / "ours.onnx", facts={}, color_order="RGB")

    assert caught.value.code == "contract_required"


def test_the_command_reports_what_it_tried_and_changed(tmp_path: Path, pairs: Path) -> None:
    out = io.StringIO()
    source, output = foreign(tmp_path / "odd.onnx", head="div"), tmp_path / "ours.onnx"
    arguments = [str(source), "--output", str(output), "--family", "adaface", "--pairs", str(pairs), "--json"]
    call_command("import_model", *arguments, "--source", "somebody", stdout=out, stderr=io.StringIO())

    result = json.loads(out.getvalue())
    assert len(result["tried"]) == 8
    assert "the head normalised the feature and was cut off" in result["repairs"]
    assert json.loads((tmp_path / "ours.onnx.proof.json").read_text()) == result["proof"]
    metadata = read_metadata(output)
    assert metadata["ml_models.source"] == "somebody"
    assert metadata["ml_models.commercial_use"] == "unknown"
    assert onnx.load(output).graph.output[0].name == "output"


def test_mean_without_std_is_refused(tmp_path: Path) -> None:
    arguments = [str(foreign(tmp_path / "odd.onnx")), "--output", str(tmp_path / "a.onnx"), "--family", "arcface"]

    with pytest.raises(CommandError, match=r"^contract_required: "):
        call_command("import_model", *arguments, "--mean", "127.5")
