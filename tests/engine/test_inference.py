"""What runs the networks: the options they are run with, and what OpenVINO must not do."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ml_models.engine.choice import choose, prove_same
from ml_models.engine.embed import Embedder, golden_crops
from ml_models.engine.errors import ContractMismatch, GoldenMismatch, InferenceFailed
from ml_models.engine.inference import OpenVinoGraph, why_not_openvino, with_onnxruntime, with_openvino
from ml_models.engine.types import InputContract
from tests.support.networks import contract, tiny_network
from tests.support.processor import needs_bfloat16

needs_openvino = pytest.mark.skipif(bool(why_not_openvino()), reason=why_not_openvino())


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return tiny_network(tmp_path / "tiny.onnx")


@pytest.mark.parametrize(("vnni", "entry"), [(False, "1"), (True, None)])
def test_int8_products_are_made_exact_only_where_the_processor_does_not_do_so_itself(
    monkeypatch: pytest.MonkeyPatch, vnni: bool, entry: str | None
) -> None:
    monkeypatch.setattr(with_onnxruntime, "has_vnni", lambda: vnni)
    options = with_onnxruntime.session_options()
    if entry is None:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")
    else:
        assert options.get_session_config_entry("session.x64quantprecision") == entry


@needs_openvino
def test_two_threads_at_one_network_each_get_their_own_faces_vector(network: Path) -> None:
    embedder = Embedder(network, contract(), OpenVinoGraph)
    crops = np.random.default_rng(0).integers(0, 256, (16, 112, 112, 3), dtype=np.uint8)
    alone = [embedder.embed(crop[None]).vectors[0] for crop in crops]

    def ask(attempt: int) -> bool:
        which = attempt % len(crops)
        return np.array_equal(embedder.embed(crops[which][None]).vectors[0], alone[which])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(2000)))


@needs_openvino
def test_an_answer_is_not_overwritten_by_the_next_call(network: Path) -> None:
    graph = OpenVinoGraph(network, ["output"])
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 1, 3, 112, 112)).astype(np.float32)
    (answer,) = graph.run(first)
    kept = answer.copy()
    (other,) = graph.run(second)
    assert not np.allclose(kept, other)
    np.testing.assert_array_equal(answer, kept)


@needs_openvino
def test_a_failed_call_is_an_error_and_the_next_one_answers(network: Path) -> None:
    graph = OpenVinoGraph(network, ["output"])
    good = np.zeros((1, 3, 112, 112), np.float32)
    with pytest.raises(InferenceFailed):
        graph.run(np.zeros((1, 3, 96, 112), np.float32))
    assert graph.run(good)[0].shape == (1, 16)


@needs_openvino
def test_reduced_precision_is_never_silent(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bfloat16, or a default of OpenVINO's to come, cannot bring other vectors unsaid."""
    import openvino

    compile_model = openvino.Core.compile_model

    def in_bfloat16(core: openvino.Core, model: object, device: str, options: dict[str, object]) -> object:
        return compile_model(core, model, device, {**options, "INFERENCE_PRECISION_HINT": "bf16"})

    monkeypatch.setattr(openvino.Core, "compile_model", in_bfloat16)
    with pytest.raises(ContractMismatch, match="not in f32"):
        OpenVinoGraph(network, ["output"])


@needs_bfloat16
def test_bfloat16_is_used_where_the_contract_allows_it_and_is_near_enough(network: Path) -> None:
    allowed = contract(precision="bfloat16")
    ours, theirs = Embedder(network, allowed), Embedder(network, allowed, partial(OpenVinoGraph, precision="bfloat16"))
    assert (ours.engine, theirs.engine) == ("onnxruntime", "openvino, bfloat16")
    prove_same(ours, theirs)
    assert not np.array_equal(ours.golden.vectors, theirs.golden.vectors)
    with pytest.raises(GoldenMismatch, match=r"cosine 0\."):
        prove_same(ours, Embedder(network, contract(precision="bfloat16", mean=120.0), OpenVinoGraph))


def test_float_contracts_read_as_before_there_was_a_choice() -> None:
    assert "precision" not in contract().to_json()
    allowed = contract(precision="bfloat16")
    assert InputContract.from_json(allowed.to_json()) == allowed
    with pytest.raises(ContractMismatch, match=r"Unknown precision: float16\. There are: float32, bfloat16\."):
        contract(precision="float16")


@needs_openvino
def test_an_engine_with_other_embeddings_is_refused(network: Path, tmp_path: Path) -> None:
    ours = Embedder(network, contract())
    prove_same(ours, Embedder(network, contract(), OpenVinoGraph))
    with pytest.raises(GoldenMismatch, match=r"cosine 0\."):
        prove_same(ours, Embedder(network, contract(mean=120.0), OpenVinoGraph))
    longer = tiny_network(tmp_path / "norm.onnx", norm=True)
    with pytest.raises(GoldenMismatch, match="norms off by"):
        prove_same(
            Embedder(longer, contract(norm_output="norm")), Embedder(doubled(longer), contract(norm_output="norm"))
        )


def doubled(network: Path) -> Path:
    """The same directions, another length: what tells a poor picture from a good one."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(network)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name))
    target = network.with_name("doubled.onnx")
    target.write_bytes(model.SerializeToString())
    return target


@needs_openvino
def test_a_network_too_small_to_gain_stays_where_it_is(network: Path) -> None:
    assert choose(network, contract()).engine == "onnxruntime"


def test_without_openvino_the_reason_is_said_and_nothing_else_fails(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert why_not_openvino() == "openvino is not installed."
    with pytest.raises(ContractMismatch, match="not installed"):
        OpenVinoGraph(network, ["output"])
    assert Embedder(network, contract()).embed(golden_crops()).vectors.shape == (2, 16)


@needs_openvino
def test_openvino_is_not_imported_where_it_would_report_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(with_openvino, "find_spec", lambda name: name == "openvino_telemetry" or find_spec(name))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "telemetry" in why_not_openvino()

    consent = tmp_path / "intel" / "openvino_telemetry"
    consent.parent.mkdir()
    consent.write_text("1")
    assert "telemetry" in why_not_openvino()
    consent.write_text("0")
    assert why_not_openvino() == ""


_FORKS = """
import gc, os, sys
from ml_models.engine.embed import Embedder, golden_crops
from ml_models.engine.errors import InferenceFailed
from ml_models.engine.inference import OpenVinoGraph
from tests.support.networks import contract
embedder = Embedder(sys.argv[1], contract(), OpenVinoGraph)
embedder.embed(golden_crops())
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    embedder.embed(golden_crops())
except InferenceFailed:
    embedder = Embedder(sys.argv[1], contract(), OpenVinoGraph)
    gc.collect()
    embedder.embed(golden_crops())
    sys.exit(0)
sys.exit("the parent's network ran, with its threads gone")
"""


@needs_openvino
def test_a_forked_child_refuses_the_parents_network_loads_its_own_and_ends(network: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _FORKS, str(network)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


_QUIET = """
import os, sys
from pathlib import Path
sockets = []
sys.addaudithook(lambda event, arguments: event.startswith("socket.") and sockets.append(event))
from ml_models.engine.embed import Embedder, golden_crops
from ml_models.engine.inference import OpenVinoGraph
from tests.support.networks import contract
Embedder(Path(sys.argv[1]), contract(), OpenVinoGraph).embed(golden_crops())
assert "openvino" in sys.modules and not [name for name in sys.modules if name.startswith("openvino_telemetry")]
files = [os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
assert not sockets and not [name for name in files if name.startswith("socket:")], (sockets, files)
"""


@needs_openvino
def test_openvino_writes_nothing_into_the_home_folder_and_opens_no_connection(network: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _QUIET, str(network)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []
