from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tflite as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from ml_models.conversion import tflite
from ml_models.conversion.errors import UnsupportedModel
from ml_models.conversion.pack import sources
from ml_models.conversion.pack.catalogue import Catalogue
from ml_models.engine.embed import golden_crops
from tests.support.tflite_files import TfliteFile

RNG = np.random.default_rng(20261123)
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6


def weights(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(scale=0.5, size=shape).astype(np.float32)


def interpreted(data: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the TFLite interpreter gives for NHWC images, as many as the file's fixed batch."""
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def converted(data: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(tflite.convert(data).SerializeToString())
    (output,) = session.run(None, {"input": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
    return np.asarray(output)


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="module")
def mobilefacenet(catalogue: Catalogue, pack_cache: Path) -> bytes:
    entry = catalogue.entries["mobilefacenet_192"]
    return sources.fetch(entry.source, entry.member, pack_cache, print).read_bytes()


def test_mobilefacenet_agrees_with_the_tflite_interpreter_on_noise_and_on_faces(mobilefacenet: bytes) -> None:
    faces = (golden_crops().astype(np.float32) - 127.5) / 128.0
    batches = [faces, *(RNG.uniform(-1, 1, size=(5, 2, 112, 112, 3)).astype(np.float32))]
    for batch in batches:
        expected, features = interpreted(mobilefacenet, batch), converted(mobilefacenet, batch)
        assert np.abs(expected - features).max() < 2e-4
        assert cosines(expected, features).min() >= 0.9999999


def test_mobilefacenet_keeps_its_33_prelus_and_takes_any_batch(mobilefacenet: bytes) -> None:
    model = tflite.convert(mobilefacenet)
    assert Counter(node.op_type for node in model.graph.node)["PRelu"] == 33
    session = onnxruntime.InferenceSession(model.SerializeToString())
    images = RNG.uniform(-1, 1, size=(5, 3, 112, 112)).astype(np.float32)
    (together,) = session.run(None, {"input": images})
    assert together.shape == (5, 192)
    for index in range(5):
        (alone,) = session.run(None, {"input": images[index : index + 1]})
        np.testing.assert_allclose(alone[0], together[index], atol=1e-4)


def convolutional(padding: int, size: int, stride: int) -> TfliteFile:
    file = TfliteFile((2, size, size, 3))
    out = -(-size // stride) if padding == SAME else (size - 3) // stride + 1
    conv = {"Padding": padding, "StrideH": stride, "StrideW": stride, "DilationHFactor": 1, "DilationWFactor": 1}
    kernel, bias = file.constant(weights(8, 3, 3, 3)), file.constant(weights(8))
    x = file.then(
        "CONV_2D", [file.last, kernel, bias], (2, out, out, 8), "Conv2DOptions", FusedActivationFunction=RELU6, **conv
    )
    slope = file.constant(weights(1, 1, 8))
    x = file.then("PRELU", [x, slope], (2, out, out, 8))
    depthwise, bias = file.constant(weights(1, 3, 3, 8)), file.constant(weights(8))
    fields = {**conv, "Padding": SAME, "StrideH": 1, "StrideW": 1, "DepthMultiplier": 1}
    shape = (2, out, out, 8)
    x = file.then("DEPTHWISE_CONV_2D", [x, depthwise, bias], shape, "DepthwiseConv2DOptions", **fields)
    scale = file.constant(weights(8))
    file.then("MUL", [x, scale], shape, "MulOptions")
    return file


def add_head(file: TfliteFile, side: int, channels: int) -> None:
    """Flatten in NHWC order, a fully connected layer, unit length."""
    flat = side * side * channels
    shape = file.constant(np.array([2, flat], np.int32))
    x = file.then("RESHAPE", [file.last, shape], (2, flat), "ReshapeOptions")
    x = file.then(
        "FULLY_CONNECTED",
        [x, file.constant(weights(6, flat)), file.constant(weights(6))],
        (2, 6),
        "FullyConnectedOptions",
    )
    file.then("L2_NORMALIZATION", [x], (2, 6), "L2NormOptions")


def assert_agrees(file: TfliteFile, size: int) -> None:
    data = file.to_bytes()
    images = RNG.uniform(-1, 1, size=(2, size, size, 3)).astype(np.float32)
    np.testing.assert_allclose(converted(data, images), interpreted(data, images), atol=1e-5)


@pytest.mark.parametrize(("padding", "size", "stride"), [(SAME, 8, 2), (SAME, 7, 2), (SAME, 8, 1), (VALID, 9, 2)])
def test_convolutions_prelu_and_a_dense_head_agree(padding: int, size: int, stride: int) -> None:
    file = convolutional(padding, size, stride)
    add_head(file, file.tensors[file.last][0][1], 8)
    assert_agrees(file, size)


@pytest.mark.parametrize("pool", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_padding_pools_concatenation_and_mean_agree(pool: str) -> None:
    file = TfliteFile((2, 7, 7, 3))
    paddings = file.constant(np.array([[0, 0], [1, 0], [0, 2], [0, 0]], np.int32))
    # a rectifier between, since onnxruntime would fuse Pad into the pool and then refuse it
    x = file.then("PAD", [file.last, paddings], (2, 8, 9, 3), "PadOptions")
    x = file.then("ABS", [x], (2, 8, 9, 3), "AbsOptions")
    fields = {"Padding": SAME, "StrideH": 2, "StrideW": 2, "FilterHeight": 3, "FilterWidth": 3}
    x = file.then(pool, [x], (2, 4, 5, 3), "Pool2DOptions", **fields)
    y = file.then("RELU", [x], (2, 4, 5, 3))
    x = file.then("CONCATENATION", [x, y], (2, 4, 5, 6), "ConcatenationOptions", Axis=3)
    file.then("MEAN", [x, file.constant(np.array([1, 2], np.int32))], (2, 6), "ReducerOptions", KeepDims=0)
    assert_agrees(file, 7)


def test_arithmetic_with_a_fused_activation_agrees() -> None:
    file = TfliteFile((2, 4, 4, 3))
    x = file.then(
        "SUB", [file.constant(weights(3)), file.last], (2, 4, 4, 3), "SubOptions", FusedActivationFunction=RELU
    )
    y = file.then("LOGISTIC", [x], (2, 4, 4, 3))
    file.then("ADD", [x, y], (2, 4, 4, 3), "AddOptions", FusedActivationFunction=RELU6)
    add_head(file, 4, 3)
    assert_agrees(file, 4)


def test_float16_weights_are_folded_into_float32() -> None:
    file = TfliteFile((2, 4, 4, 3))
    half = file.constant(weights(6, 48).astype(np.float16))
    source = file.last
    kernel = file.then("DEQUANTIZE", [half], (6, 48), "DequantizeOptions")
    shape = file.constant(np.array([2, 48], np.int32))
    x = file.then("RESHAPE", [source, shape], (2, 48), "ReshapeOptions")
    file.then("FULLY_CONNECTED", [x, kernel, file.constant(weights(6))], (2, 6), "FullyConnectedOptions")
    assert_agrees(file, 4)


def test_an_operator_without_a_rule_is_refused_by_name() -> None:
    file = TfliteFile((2, 4, 4, 3))
    file.then("COS", [file.last], (2, 4, 4, 3))
    add_head(file, 4, 3)
    with pytest.raises(UnsupportedModel, match="COS"):
        tflite.convert(file.to_bytes())


def test_a_reshape_that_mixes_the_batch_with_the_content_is_refused() -> None:
    file = TfliteFile((2, 4, 4, 3))
    shape = file.constant(np.array([1, 96], np.int32))
    file.then("RESHAPE", [file.last, shape], (1, 96), "ReshapeOptions")
    with pytest.raises(UnsupportedModel, match="batch"):
        tflite.convert(file.to_bytes())


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not a model", b"\x08\x00\x00\x00TFL3" + b"\xff" * 64])
def test_a_file_that_is_no_tflite_model_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedModel):
        tflite.convert(data)


def test_a_page_in_the_place_of_a_tflite_model_is_told_for_what_it_is() -> None:
    with pytest.raises(UnsupportedModel, match="a web page"):
        tflite.convert(b"<!doctype html><title>Log in</title>")
