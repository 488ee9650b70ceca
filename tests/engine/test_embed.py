from pathlib import Path
from typing import cast

import numpy as np
import pytest

from ml_models.engine.embed import Embedder, check_golden, golden_crops, golden_vectors, space_id
from ml_models.engine.errors import ContractMismatch, GoldenMismatch, InferenceFailed
from ml_models.engine.graph import graph_digest, read_metadata
from ml_models.engine.inference import OnnxRuntimeGraph, Opener, OpenVinoGraph, why_not_openvino
from tests.support.networks import DIMENSION, contract, hiding_its_dimension, tiny_network, with_metadata


@pytest.fixture(params=[OnnxRuntimeGraph, OpenVinoGraph], ids=lambda opener: opener.engine)
def opener(request: pytest.FixtureRequest) -> Opener:
    """What runs the networks: everything holds whichever it is."""
    if request.param is OpenVinoGraph and why_not_openvino():
        pytest.skip(why_not_openvino())
    return cast(Opener, request.param)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return tiny_network(tmp_path / "tiny.onnx")


def test_embedding_gives_unit_length_float32_rows_and_the_norms(network: Path, opener: Opener) -> None:
    embeddings = Embedder(network, contract(), opener).embed(golden_crops())

    assert embeddings.vectors.shape == (2, DIMENSION)
    assert embeddings.vectors.dtype == embeddings.norms.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=1e-6)
    assert (embeddings.norms > 0).all()


def test_a_batch_gives_what_single_faces_give(network: Path, opener: Opener) -> None:
    embedder = Embedder(network, contract(), opener)
    one_by_one = np.stack([embedder.embed(crop[None]).vectors[0] for crop in golden_crops()])
    np.testing.assert_allclose(embedder.embed(golden_crops()).vectors, one_by_one, atol=1e-6)


def test_the_norm_output_is_reported_where_the_contract_names_one(tmp_path: Path, opener: Opener) -> None:
    network = tiny_network(tmp_path / "norm.onnx", norm=True)
    named = Embedder(network, contract(norm_output="norm"), opener).embed(golden_crops())
    computed = Embedder(network, contract(), opener).embed(golden_crops())
    np.testing.assert_allclose(named.norms, computed.norms, rtol=1e-5)


def test_flip_averaging_does_not_mind_which_way_round_the_face_is(network: Path, opener: Opener) -> None:
    embedder = Embedder(network, contract(), opener)
    crops = golden_crops()
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    np.testing.assert_allclose(
        embedder.embed(crops, flip=True).vectors, embedder.embed(mirrored, flip=True).vectors, atol=1e-6
    )
    assert not np.allclose(embedder.embed(crops).vectors, embedder.embed(mirrored).vectors, atol=1e-3)


def test_a_swapped_colour_order_fails_the_golden_vectors(network: Path) -> None:
    golden = golden_vectors(Embedder(network, contract(color_order="RGB")))
    check_golden(Embedder(network, contract(color_order="RGB")), golden, 0.9999)
    with pytest.raises(GoldenMismatch):
        check_golden(Embedder(network, contract(color_order="BGR")), golden, 0.9999)


def test_a_different_normalisation_fails_the_golden_vectors(network: Path) -> None:
    golden = golden_vectors(Embedder(network, contract()))
    with pytest.raises(GoldenMismatch):
        check_golden(Embedder(network, contract(mean=0.0, std=1.0)), golden, 0.9999)


@pytest.mark.parametrize(
    "changes",
    [
        {"input": "data"},
        {"output": "fc1"},
        {"norm_output": "norm"},
        {"dimension": DIMENSION + 1},
        {"layout": "NHWC"},
        {"size": [96, 112]},
        {"alignment": "somebody-else"},
    ],
    ids=str,
)
def test_a_network_that_is_not_what_its_contract_says_is_refused(
    network: Path, opener: Opener, changes: dict[str, object]
) -> None:
    with pytest.raises(ContractMismatch):
        Embedder(network, contract(**changes), opener)


def test_a_dimension_that_only_the_answer_shows_is_refused_as_well(tmp_path: Path, opener: Opener) -> None:
    wider = tiny_network(tmp_path / "wide.onnx", dimension=DIMENSION + 1)
    with pytest.raises(ContractMismatch, match="17 numbers"):  # OpenVINO knows it before it runs
        Embedder(hiding_its_dimension(wider, tmp_path / "hidden.onnx"), contract(), opener).embed(golden_crops())


def test_golden_vectors_of_another_dimension_are_a_mismatch(network: Path, tmp_path: Path) -> None:
    wider = Embedder(tiny_network(tmp_path / "wide.onnx", dimension=DIMENSION + 1), contract(dimension=DIMENSION + 1))
    with pytest.raises(GoldenMismatch, match="shape"):
        check_golden(Embedder(network, contract()), golden_vectors(wider), 0.9999)


def test_a_fixed_batch_is_refused(tmp_path: Path, opener: Opener) -> None:
    with pytest.raises(ContractMismatch, match="batch"):
        Embedder(tiny_network(tmp_path / "fixed.onnx", batch=1), contract(), opener)


@pytest.mark.parametrize("poison", ["nan", "zero"])
def test_a_network_without_a_usable_answer_fails_and_never_embeds(tmp_path: Path, opener: Opener, poison: str) -> None:
    embedder = Embedder(tiny_network(tmp_path / "bad.onnx", poison=poison), contract(), opener)
    with pytest.raises(InferenceFailed):
        embedder.embed(golden_crops())


def test_a_file_that_is_no_network_is_refused(tmp_path: Path, opener: Opener) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ContractMismatch):
        Embedder(tmp_path / "text.onnx", contract(), opener)


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((1, 96, 112, 3), np.uint8),
        np.zeros((1, 112, 112, 3), np.float32),
        np.zeros((0, 112, 112, 3), np.uint8),
    ],
    ids=["no batch", "size", "type", "empty"],
)
def test_crops_of_another_shape_are_refused(network: Path, crops: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Crops must be"):
        Embedder(network, contract()).embed(crops)


@pytest.mark.parametrize(
    "wrong",
    [{"color_order": "GBR"}, {"std": 0.0}, {"dimension": 0}, {"surprise": 1}, {"layout": "HWC"}, {"kind": "detector"}],
    ids=str,
)
def test_an_impossible_contract_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ContractMismatch):
        contract(**wrong)


def test_metadata_does_not_change_the_graph_digest_and_weights_do(network: Path, tmp_path: Path) -> None:
    described = with_metadata(network, tmp_path / "told.onnx", {"source": "here", "note": "ü"})
    other = tiny_network(tmp_path / "other.onnx", seed=1)

    assert described.read_bytes() != network.read_bytes()
    assert graph_digest(described) == graph_digest(network) != graph_digest(other)
    assert read_metadata(described) == {"source": "here", "note": "ü"}


def test_a_truncated_file_has_no_digest(network: Path) -> None:
    data = network.read_bytes()
    with pytest.raises(ContractMismatch):
        graph_digest(data[: len(data) // 2])


def test_whatever_changes_the_vector_changes_the_space() -> None:
    spaces = {
        space_id("a" * 64, contract(), False),
        space_id("b" * 64, contract(), False),
        space_id("a" * 64, contract(), True),
        space_id("a" * 64, contract(color_order="BGR"), False),
        space_id("a" * 64, contract(mean=0.0), False),
    }
    assert len(spaces) == 5
    assert space_id("a" * 64, contract(), False) in spaces
