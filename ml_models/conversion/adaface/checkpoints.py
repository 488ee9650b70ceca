"""A file of weights → its tensors by name. Nothing in it is executed, whatever it says of itself."""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..beginnings import what_it_is
from ..errors import ConversionError

_NAMES = (".safetensors", ".ckpt", ".pt", ".pth")
# where trainers put the weights; of several, the first
_PLACES = ("state_dict", "model", "model_state_dict", "net", "backbone")
# what a pickle of tensors imports
_TENSORS_NEED = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch(\.storage)?\.\w*Storage|torch\.\w+(16|32|64)"
)
# what PyTorch's reader of weights reads
_PROTOCOLS = (2, 3)
_SHOWN = 4
# PyTorch's own file of before 2020: magic number, protocol, machine, content, keys
_LEGACY_PICKLES = 5
_MAX_PICKLE_BYTES = 64 << 20
# what a damaged or encrypted archive raises
_DAMAGED = (OSError, zipfile.BadZipFile, zlib.error, ValueError, RuntimeError)

# Data that checkpoints carry beside the weights. Lightning's dictionary of hyper-parameters is read as a plain one:
# Lightning is not installed here.
_INERT = [
    argparse.Namespace,
    *(
        (dict, f"{package}.AttributeDict")
        for package in (
            "pytorch_lightning.utilities.parsing",
            "lightning.pytorch.utilities.parsing",
            "lightning_fabric.utilities.data",
            "lightning.fabric.utilities.data",
        )
    ),
]


def read(path: Path, is_network: Callable[[Iterable[str]], bool]) -> dict[str, Tensor]:
    """Read a safetensors file or a PyTorch checkpoint; which of both it is, its bytes say, not its name.

    Args:
        is_network: whether tensors of these names are the network's. A checkpoint's are looked for at its top, then
            under the keys that trainers use.

    Raises:
        ConversionError: `unsupported_format` (by the name), `not_a_checkpoint`, `damaged_file`, `unsafe_pickle`,
            `network_not_found`.
    """
    if path.suffix not in _NAMES:
        raise ConversionError("unsupported_format", f"{path.name} is neither a .safetensors nor a .ckpt file.")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ConversionError("not_found", f"{path.name} cannot be read: {error.strerror}.") from error
    # eight bytes of length, then JSON
    if start[4:9] == b"\0\0\0\0{":
        return _read_safetensors(path)
    if start.startswith(b"PK\x03\x04"):
        return _tensors(path, _load(path, start, _archived_pickle(path)), is_network)
    if start[:1] == b"\x80":
        return _tensors(path, _load(path, start, None), is_network)
    if len(start) < 9:
        raise ConversionError("damaged_file", f"{path.name} is not a whole checkpoint: it has {len(start)} bytes.")
    imported = _imports(path, None)
    if imported:
        raise _unsafe(path, imported)
    raise _not_a_checkpoint(path, what_it_is(start))


def _not_a_checkpoint(path: Path, what: str) -> ConversionError:
    return ConversionError("not_a_checkpoint", f"{path.name} is not a checkpoint. It is {what}.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise ConversionError("damaged_file", f"{path.name} is not a whole safetensors file: {error}.") from error
    return tensors


def _archived_pickle(path: Path) -> str:
    """The name of the pickle in an archive that PyTorch wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _DAMAGED as error:
        raise ConversionError("damaged_file", f"{path.name} is not a whole checkpoint: fetch it again.") from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise _not_a_checkpoint(path, "a TorchScript program: save its state_dict()")
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _not_a_checkpoint(
            path, f"a zip archive without PyTorch's data.pkl ({', '.join(names[:_SHOWN]) or 'empty'})"
        )
    return pickles[0]


def _load(path: Path, start: bytes, member: str | None) -> Any:
    try:
        # the open file: by a path's name PyTorch would choose another reader
        with path.open("rb") as file, warnings.catch_warnings(), torch.serialization.safe_globals(_INERT):
            warnings.simplefilter("ignore")  # of pickle protocols that it may not know: it refuses those
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        imported = _imports(path, member)
        if imported:
            raise _unsafe(path, imported) from error
        if member and (protocol := _protocol(path, member)) not in _PROTOCOLS:
            raise _not_a_checkpoint(
                path, f"a pickle of protocol {protocol}: save it again, without pickle_protocol"
            ) from error
        raise _not_a_checkpoint(path, f"{what_it_is(start)} that PyTorch did not write, or a damaged one") from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
        AssertionError,
        struct.error,
    ) as error:
        raise ConversionError("damaged_file", f"{path.name} is not a whole PyTorch checkpoint.") from error


def _pickled(path: Path, member: str | None, size: int) -> bytes:
    """The beginning of a file, or of a member of the archive that it is. Raises: ConversionError, `damaged_file`"""
    try:
        if member is None:
            with path.open("rb") as file:
                return file.read(size)
        with zipfile.ZipFile(path) as archive, archive.open(member) as inner:
            return inner.read(size)
    except _DAMAGED as error:
        raise ConversionError("damaged_file", f"{path.name} is not a whole checkpoint: fetch it again.") from error


def _protocol(path: Path, member: str) -> int:
    """Of the pickle in an archive of PyTorch's. Those before 2 do not say it: 0 stands for both."""
    start = _pickled(path, member, 2)
    return start[1] if start[:1] == b"\x80" and len(start) == 2 else 0


def _unsafe(path: Path, imported: list[str]) -> ConversionError:
    more = f" and {len(imported) - _SHOWN} more" if len(imported) > _SHOWN else ""
    return ConversionError(
        "unsafe_pickle",
        f"{path.name} asks for more than tensors and so could run code: {', '.join(imported[:_SHOWN])}{more}. "
        "Nothing of it was executed. Save the network's state_dict() alone, or take the safetensors release.",
    )


def _imports(path: Path, member: str | None) -> list[str]:
    """What a file's pickles would import beyond PyTorch's own, read without importing it; empty when it holds no whole
    pickle."""
    try:
        data = _pickled(path, member, _MAX_PICKLE_BYTES)
    except ConversionError:
        return []
    return _names(data, 1 if member else _LEGACY_PICKLES)


def _names(data: bytes, pickles: int) -> list[str]:
    """The imports of the whole pickles at the beginning of the bytes, at most so many pickles."""
    stream, names = io.BytesIO(data), []
    for _ in range(pickles):
        imported, strings = [], ["", ""]
        try:
            for operator, argument, _ in pickletools.genops(stream):
                if operator.name in ("GLOBAL", "INST"):
                    imported.append(str(argument).replace(" ", "."))
                elif operator.name == "STACK_GLOBAL":
                    imported.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
        except (ValueError, IndexError, OverflowError):
            break  # not a whole one
        names += [name for name in imported if not _TENSORS_NEED.fullmatch(name)]
    return list(dict.fromkeys(names))


def _tensors(path: Path, content: Any, is_network: Callable[[Iterable[str]], bool]) -> dict[str, Tensor]:
    """The network's tensors in what a checkpoint holds."""
    if not isinstance(content, Mapping):
        raise ConversionError("network_not_found", f"{path.name} holds a {type(content).__name__}, not a state_dict.")
    held = {"": content, **{str(key): value for key, value in content.items() if isinstance(value, Mapping)}}
    tensors = {
        place: {str(name): tensor for name, tensor in values.items() if isinstance(tensor, Tensor)}
        for place, values in held.items()
    }
    networks = [place for place in tensors if is_network(tensors[place])]
    known = [place for place in ("", *_PLACES) if place in networks]
    if len(networks) > 1 and not known:
        raise ConversionError(
            "network_not_found",
            f"{path.name} holds networks under {', '.join(networks)}: which is meant cannot be told. Save one alone.",
        )
    # where there is none, the largest shows what the file holds instead
    place = (known or networks or [max(tensors, key=lambda place: len(tensors[place]))])[0]
    return tensors[place]
