"""Checkpoint files: weights are found where trainers put them; a file of another kind is refused, and named."""

from __future__ import annotations

import argparse
import io
import pickle
import sys
import tarfile
import types
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="conversion tests run in the conversion environment: make convert-env")

from safetensors.torch import save  # noqa: E402

from ml_models.conversion.adaface import checkpoints  # noqa: E402
from ml_models.conversion.errors import ConversionError  # noqa: E402

NETWORK = {"conv.weight": torch.arange(4.0), "conv.bias": torch.zeros(2)}
TRAINING = {"step": torch.zeros(1)}


def is_network(names: Iterable[str]) -> bool:
    return "conv.weight" in names


def read(path: Path) -> dict[str, Any]:
    return checkpoints.read(path, is_network)


def refusal(path: Path) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        read(path)
    return caught.value


def archive(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        NETWORK,
        {"state_dict": NETWORK, "epoch": 3},
        {"model": NETWORK, "optimizer": TRAINING},
        {"model": NETWORK, "ema": {"conv.weight": torch.ones(4)}},
        {"state_dict": NETWORK, "model": {"conv.weight": torch.ones(4)}},
        {"somebodys_own_name": NETWORK, "optimizer": TRAINING},
        {"state_dict": NETWORK, "hyper_parameters": argparse.Namespace(lr=0.1, folders=["a"])},
        {"state_dict": NETWORK, "hyper_parameters": {"lr": 0.1, "milestones": (1, 2)}},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_found_where_trainers_put_them(tmp_path: Path, content: Any, zipped: bool) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(read(path)["conv.weight"], NETWORK["conv.weight"])


def test_lightnings_own_dictionary_of_hyper_parameters_is_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "pytorch_lightning.utilities.parsing"
    kind = type("AttributeDict", (dict,), {"__module__": place})
    path = tmp_path / "lightning.ckpt"
    with monkeypatch.context() as installed:
        for name in ("pytorch_lightning", "pytorch_lightning.utilities", place):
            installed.setitem(sys.modules, name, types.ModuleType(name))
        installed.setattr(sys.modules[place], "AttributeDict", kind, raising=False)
        torch.save({"state_dict": NETWORK, "hyper_parameters": kind(lr=0.1)}, path)
    assert read(path).keys() == NETWORK.keys()


def test_of_two_networks_under_unknown_names_neither_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save({"student": NETWORK, "teacher": NETWORK}, path)
    error = refusal(path)
    assert error.code == "network_not_found"
    assert "student, teacher" in str(error)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "weights"])
def test_a_checkpoint_of_something_else_is_told_so(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save(content, path)
    error = refusal(path)
    assert error.code == "network_not_found"
    assert f"holds a {type(content).__name__}, not a state_dict" in str(error)


def test_the_bytes_and_not_the_name_say_which_form_a_file_has(tmp_path: Path) -> None:
    (tmp_path / "weights.ckpt").write_bytes(save(NETWORK))
    torch.save(NETWORK, tmp_path / "weights.safetensors")
    assert read(tmp_path / "weights.ckpt").keys() == NETWORK.keys()
    assert read(tmp_path / "weights.safetensors").keys() == NETWORK.keys()


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "a web page"),
        (b"\xef\xbb\xbf \n<html></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "run git lfs pull"),
        (b"cannot be found\nlog in\n", "a text"),
        (b'{"error": "log in"}', "a text"),
        (archive(readme="hello"), "without PyTorch's data.pkl (readme)"),
        (tar(), "a tar archive"),
        (pickle.dumps([1, 2, 3]), "a pickle that PyTorch did not write"),
        (pickle.dumps([1, 2, 3], 0), "a text"),
        (bytes(range(255, 0, -1)), "no kind of file"),
        (bytes(2000), "no kind of file"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_told_for_what_it_is(
    tmp_path: Path, content: bytes, what: str, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    error = refusal(path)
    assert error.code == "not_a_checkpoint"
    assert "is not a checkpoint" in str(error)
    assert what in str(error)


@pytest.mark.parametrize(
    "content",
    [b"cos\nsystem\n(S'true'\ntR.", pickle.dumps(__import__("os").getcwd, 2), pickle.dumps(io.BytesIO, 4)],
)
def test_a_pickle_that_asks_for_code_is_named_so_in_every_protocol(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)
    error = refusal(path)
    assert error.code == "unsafe_pickle"
    assert any(name in str(error) for name in ("os.system", "posix.getcwd", "_io.BytesIO"))


@pytest.mark.parametrize("protocol", [0, 4, 5])
def test_a_checkpoint_in_another_protocol_is_told_how_to_be_saved(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save(NETWORK, path, pickle_protocol=protocol)
    error = refusal(path)
    assert (error.code, f"protocol {protocol}: save it again" in str(error)) == ("not_a_checkpoint", True)


@pytest.mark.parametrize(
    ("at", "byte"),
    [(b"collections", b"m"), (b"PK\x03\x04", b"\x01"), (b"PK\x03\x04", b"0")],
    ids=["sum", "name", "text"],
)
def test_an_archive_whose_pickle_cannot_be_unpacked_is_damaged(tmp_path: Path, at: bytes, byte: bytes) -> None:
    """By its check sum, or by how long its name is said to be, which then is another one or no text."""
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": NETWORK}, path)
    data = path.read_bytes()
    place = data.index(at) + (26 if at.startswith(b"PK") else 0)
    path.write_bytes(data[:place] + byte + data[place + 1 :])
    assert refusal(path).code == "damaged_file"


def test_an_older_checkpoint_cut_off_anywhere_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": NETWORK}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for size in range(1, len(data)):
        path.write_bytes(data[:size])
        assert refusal(path).code in ("damaged_file", "not_a_checkpoint"), size


def test_a_whole_network_pickled_is_refused_with_what_to_save_instead(tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), path)
    error = refusal(path)
    assert error.code == "unsafe_pickle"
    assert "torch.nn.modules" in str(error)
    assert "state_dict()" in str(error)
