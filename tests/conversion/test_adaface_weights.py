"""Reading the author's files: both forms load, and nothing else gets in."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="conversion tests run in the conversion environment: make convert-env")

from safetensors.torch import save_file  # noqa: E402

from ml_models.conversion.adaface.datasets import DATASETS, dataset_in_name, settle_dataset  # noqa: E402
from ml_models.conversion.adaface.export import settle_color_order  # noqa: E402
from ml_models.conversion.adaface.seeded import seeded_network  # noqa: E402
from ml_models.conversion.adaface.weights import match_architecture, read_weights  # noqa: E402
from ml_models.conversion.errors import ConversionError  # noqa: E402


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    # 96 MB a file: pytest's own folder would keep those of the last three runs
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    return dict(seeded_network("ir18").state_dict())


def save(folder: Path, state: dict[str, Any], prefix: str = "model.net.", config: dict[str, Any] | None = None) -> str:
    path = folder / "model.safetensors"
    save_file({prefix + name: tensor.contiguous() for name, tensor in state.items()}, path)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return str(path)


def refusal(source: str, **options: Any) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        read_weights(source, **options)
    return caught.value


@pytest.mark.parametrize("prefix", ["", "model.net.", "model.", "net.", "some.other.wrapper."])
def test_any_wrapper_prefix_is_taken_off_and_reported(tmp_path: Path, state: dict[str, Any], prefix: str) -> None:
    weights = read_weights(save(tmp_path, state, prefix))

    assert weights.prefix == prefix
    assert weights.architecture == "ir18"
    assert weights.state.keys() == state.keys()


def test_the_wrappers_config_gives_colour_order_and_source(tmp_path: Path, state: dict[str, Any]) -> None:
    config = {
        "_name_or_path": "minchul/cvlface_adaface_ir18_webface4m",
        "conf": {"color_space": "BGR", "name": "ir18", "output_dim": 512, "input_size": [3, 112, 112]},
    }
    weights = read_weights(save(tmp_path, state, config=config))

    assert weights.color_order == "BGR"
    assert weights.dataset == "webface4m"


def test_a_flat_config_is_read_too(tmp_path: Path, state: dict[str, Any]) -> None:
    assert read_weights(save(tmp_path, state, config={"color_space": "RGB"})).color_order == "RGB"


@pytest.mark.parametrize(
    "config",
    [{"color_space": "YUV"}, {"conf": {"output_dim": 256}}, {"input_size": [3, 224, 224]}, ["no", "object"]],
)
def test_a_config_that_states_something_else_is_refused(tmp_path: Path, state: dict[str, Any], config: Any) -> None:
    assert refusal(save(tmp_path, state, config=config)).code == "config_invalid"


def test_a_config_that_names_another_architecture_is_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    error = refusal(save(tmp_path, state, config={"conf": {"name": "ir50"}}))

    assert error.code == "architecture_mismatch"
    assert "ir50" in str(error)


def test_a_lightning_checkpoint_loads_without_its_head(tmp_path: Path, state: dict[str, Any]) -> None:
    path = tmp_path / "adaface_ir18_casia.ckpt"
    tensors = {f"model.{name}": tensor for name, tensor in state.items()}
    tensors |= {"head.kernel": torch.zeros(512, 10), "head.t": torch.zeros(1)}
    torch.save({"state_dict": tensors, "epoch": 25, "hyper_parameters": {"lr": 0.1}}, path)

    weights = read_weights(str(path))

    assert weights.prefix == "model."
    assert weights.dropped == ("head.kernel", "head.t")
    assert weights.dataset == "casia"
    assert torch.equal(weights.state["body.0.res_layer.1.weight"], state["body.0.res_layer.1.weight"])


def test_half_precision_weights_become_single(tmp_path: Path, state: dict[str, Any]) -> None:
    halves = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}

    weights = read_weights(save(tmp_path, halves))

    assert weights.state["input_layer.0.weight"].dtype == torch.float32


@pytest.mark.parametrize("name", ["body.5.res_layer.4.weight", "output_layer.4.running_mean"])
def test_one_missing_tensor_is_refused_and_named(tmp_path: Path, state: dict[str, Any], name: str) -> None:
    error = refusal(save(tmp_path, {key: t for key, t in state.items() if key != name}))

    assert error.code == "layout_mismatch"
    assert "1 missing" in str(error)
    assert name in str(error)


def test_files_without_the_counters_of_training_are_whole(tmp_path: Path, state: dict[str, Any]) -> None:
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    weights = read_weights(save(tmp_path, {name: t for name, t in state.items() if name not in counters}))

    assert len(counters) > 20
    assert weights.architecture == "ir18"
    assert weights.state.keys() == state.keys()  # so that they load with strict=True


@pytest.mark.parametrize(
    ("prefix", "head"), [("module.", "module.head."), ("module.model.", "module.head."), ("", "head.")]
)
def test_a_network_trained_in_parallel_is_read_without_its_head(
    tmp_path: Path, state: dict[str, Any], prefix: str, head: str
) -> None:
    tensors = {f"{prefix}{name}": tensor for name, tensor in state.items()} | {f"{head}kernel": torch.zeros(512, 10)}
    weights = read_weights(save(tmp_path, tensors, prefix=""))

    assert (weights.prefix, weights.dropped) == (prefix, (f"{head}kernel",))
    assert weights.state.keys() == state.keys()


def test_one_extra_tensor_is_refused_and_named(tmp_path: Path, state: dict[str, Any]) -> None:
    error = refusal(save(tmp_path, state | {"body.8.res_layer.1.weight": torch.zeros(3, 3)}))

    assert error.code == "layout_mismatch"
    assert "1 extra (body.8.res_layer.1.weight [3, 3])" in str(error)


def test_a_tensor_outside_the_wrapper_is_refused_and_named(tmp_path: Path, state: dict[str, Any]) -> None:
    tensors = {f"model.net.{name}": tensor for name, tensor in state.items()} | {"aligner.weight": torch.zeros(2)}

    error = refusal(save(tmp_path, tensors, prefix=""))

    assert error.code == "layout_mismatch"
    assert "aligner.weight [2]" in str(error)


def test_one_wrong_shape_is_refused_and_named(tmp_path: Path, state: dict[str, Any]) -> None:
    error = refusal(save(tmp_path, state | {"output_layer.3.weight": torch.zeros(512, 512)}))

    assert error.code == "layout_mismatch"
    assert "output_layer.3.weight [512, 512] instead of [512, 25088]" in str(error)


def test_the_wrong_architecture_is_refused_with_names_and_shapes(tmp_path: Path, state: dict[str, Any]) -> None:
    error = refusal(save(tmp_path, state), architecture="ir50")

    assert error.code == "architecture_mismatch"
    assert "are those of ir18" in str(error)
    assert "body.3.shortcut_layer.0.weight [128, 64, 1, 1]" in str(error)


def test_the_architecture_is_found_though_a_tensor_is_missing() -> None:
    from ml_models.conversion.adaface.network import layout

    shapes = layout("ir101")
    del shapes["body.0.res_layer.1.weight"]

    with pytest.raises(ConversionError, match="not ir101's layout: 1 missing"):
        match_architecture(shapes)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    assert refusal(save(tmp_path, {"conv1.weight": torch.zeros(3)})).code == "network_not_found"


def test_two_networks_in_one_file_are_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    tensors = {f"student.{n}": t for n, t in state.items()} | {f"teacher.{n}": t.clone() for n, t in state.items()}

    error = refusal(save(tmp_path, tensors, prefix=""))
    assert error.code == "network_not_found"
    assert "student., teacher." in str(error)


def test_values_that_are_not_finite_are_refused_and_named(tmp_path: Path, state: dict[str, Any]) -> None:
    broken = state["input_layer.1.running_var"].clone()
    broken[3] = float("nan")

    error = refusal(save(tmp_path, state | {"input_layer.1.running_var": broken}))

    assert error.code == "not_finite"
    assert "input_layer.1.running_var" in str(error)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor.to(torch.int8),
        lambda tensor: tensor.to(torch.float8_e4m3fn),
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
    ],
    ids=["complex", "whole numbers", "eight bits", "sparse", "no numbers"],
)
def test_values_that_are_no_plain_numbers_are_refused_and_named(
    tmp_path: Path, state: dict[str, Any], change: Any
) -> None:
    name = "input_layer.1.running_var"
    torch.save(state | {name: change(state[name])}, tmp_path / "odd.ckpt")
    error = refusal(str(tmp_path / "odd.ckpt"))
    assert error.code == "layout_mismatch"
    assert name in str(error)


class Payload:
    """What a hostile checkpoint carries: a call that leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path, mark = tmp_path / "evil.ckpt", tmp_path / "mark"
    torch.save({"state_dict": {}, "callbacks": Payload(mark)}, path, _use_new_zipfile_serialization=zipped)

    error = refusal(str(path))

    assert error.code == "unsafe_pickle"
    assert not mark.exists()
    if zipped:
        assert "mkdir" in str(error)


def test_a_header_that_claims_three_gigabytes_is_refused_without_allocating_them(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 3_000_000_000) + b'{"a":{}}')

    assert refusal(str(path)).code == "damaged_file"


def test_a_tensor_that_claims_three_gigabytes_is_refused_without_allocating_them(tmp_path: Path) -> None:
    header = {"input_layer.0.weight": {"dtype": "F32", "shape": [750_000_000], "data_offsets": [0, 3_000_000_000]}}
    packed = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + b"\0" * 64)

    assert refusal(str(path)).code == "damaged_file"


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
@pytest.mark.parametrize("keep", [0, 5, 1000, 0.5, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, state: dict[str, Any], name: str, keep: float) -> None:
    path = tmp_path / name
    if path.suffix == ".ckpt":
        torch.save({"state_dict": state}, path)
    else:
        save(tmp_path, state)
    size = path.stat().st_size
    os.truncate(path, int(size * keep) if 0 < keep < 1 else size - 1 if keep < 0 else int(keep))

    assert refusal(str(path)).code == "damaged_file"


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "weights.h5"
    other.write_bytes(b"\x89HDF")
    assert refusal(str(other)).code == "unsupported_format"
    assert refusal(str(tmp_path / "absent.ckpt")).code == "not_found"
    assert refusal(str(tmp_path)).code == "not_found"


@pytest.mark.parametrize("revision", ["main", "v1.0", "abc123"])
def test_a_repository_must_be_pinned_to_a_commit(revision: str) -> None:
    assert refusal(f"minchul/cvlface_adaface_ir50_ms1mv2@{revision}").code == "revision_required"


def test_the_colour_order_is_never_guessed_and_never_against_the_source() -> None:
    assert settle_color_order("BGR", None) == "BGR"
    assert settle_color_order(None, "RGB") == "RGB"
    with pytest.raises(ConversionError, match="--color-order") as caught:
        settle_color_order(None, None)
    assert caught.value.code == "color_order_required"
    with pytest.raises(ConversionError) as caught:
        settle_color_order("RGB", "BGR")
    assert caught.value.code == "color_order_conflict"


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("adaface_ir50_ms1mv2.ckpt", "ms1mv2"),
        ("minchul/cvlface_adaface_ir101_webface12m", "webface12m"),
        ("minchul/cvlface_adaface_ir18_vgg2", "vggface2"),
        ("adaface_ir50_webface42m.ckpt", "webface42m"),
        ("model.safetensors", None),
        ("occasional.ckpt", None),
    ],
)
def test_the_authors_file_names_tell_the_training_set(name: str, dataset: str | None) -> None:
    assert dataset_in_name(name) == dataset


def test_a_training_set_is_never_claimed_against_the_source() -> None:
    with pytest.raises(ConversionError) as caught:
        settle_dataset("ms1mv2", "webface4m")
    assert caught.value.code == "dataset_conflict"


def test_a_training_set_is_required_and_must_be_known() -> None:
    for given, code in ((None, "dataset_required"), ("webface5m", "dataset_unknown")):
        with pytest.raises(ConversionError) as caught:
            settle_dataset(given, None)
        assert caught.value.code == code
    assert settle_dataset("WebFace-4M", None).name == "webface4m"


def test_only_what_the_author_offers_under_mit_may_be_sold() -> None:
    uses = {name: dataset.commercial_use for name, dataset in DATASETS.items()}

    assert uses.pop("ms1mv2") == "allowed"
    assert {uses.pop(name) for name in ("webface4m", "webface12m", "webface42m", "casia")} == {"forbidden"}
    assert set(uses.values()) == {"unknown"}


def test_a_download_that_fails_gives_the_hubs_reason_and_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class HfHubHTTPError(OSError):
        pass

    def refused(*named: Any, **more: Any) -> str:
        raise HfHubHTTPError("403 Client Error.\n\nAccess to this repository is restricted.")

    hub, errors = ModuleType("huggingface_hub"), ModuleType("huggingface_hub.errors")
    monkeypatch.setattr(hub, "hf_hub_download", refused, raising=False)
    monkeypatch.setattr(errors, "HfHubHTTPError", HfHubHTTPError, raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    error = refusal(f"minchul/cvlface_adaface_ir50_ms1mv2@{'0' * 40}")
    assert error.code == "hub_unavailable"
    assert "403 Client Error. Access to this repository is restricted. Check the network" in str(error)
    assert "HF_TOKEN" in str(error)
