"""AdaFace's published files → a state dict that is proven to be one of the three networks.

Both published forms are read, `model.safetensors` with its `config.json` and the Lightning `.ckpt`; neither
is trusted: nothing in a file is executed, and nothing is allocated because a header claims it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from ml_models.engine.files import sha256_of

from ..errors import ConversionError
from . import checkpoints
from .datasets import dataset_in_name
from .network import DIMENSION, UNITS, Architecture, layout

ColorOrder = Literal["RGB", "BGR"]

_ANCHOR = "input_layer.0.weight"
_HEAD = "head."
_STATISTIC = "running_mean"
_COUNTER = "num_batches_tracked"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_SHOWN = 4
_HUB_REFERENCE = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)@(?P<revision>\S+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Weights:
    """A state dict of the published layout, and what its source says of it.

    `state` has the network's own names, float32 (`num_batches_tracked` int64); `prefix` is what stood before
    them in the file and `dropped` the training head's tensors; `color_order` and `dataset` are None where the
    source is silent.
    """

    state: dict[str, Tensor]
    architecture: Architecture
    prefix: str
    dropped: tuple[str, ...]
    source: str
    revision: str | None
    sha256: str
    color_order: ColorOrder | None
    dataset: str | None


def read_weights(reference: str, architecture: Architecture | None = None) -> Weights:
    """Read AdaFace weights.

    Args:
        reference: path of a `.safetensors`, `.ckpt`, `.pt` or `.pth` file, or a Hugging Face `owner/name@commit`.
        architecture: None to infer it from the tensors.

    Raises:
        ConversionError: `not_found`, `hub_unavailable`, `revision_required`, `unsupported_format`,
            `not_a_checkpoint`, `damaged_file`, `unsafe_pickle`, `config_invalid`, `network_not_found`,
            `layout_mismatch`, `architecture_mismatch`, `not_finite`.
    """
    path, source, revision = _locate(reference)
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise ConversionError("not_found", f"{path.name} cannot be read: {error.strerror}.") from error
    state, prefix, dropped = _unwrap(checkpoints.read(path, lambda names: bool(_prefixes(names))))
    _count_batches(state)
    config = _read_config(path)
    matched = match_architecture({name: tuple(t.shape) for name, t in state.items()}, architecture)
    for name, tensor in state.items():
        if not _is_plain(name, tensor):
            raise ConversionError(
                "layout_mismatch",
                f"{name} is {tensor.dtype}, {tensor.layout}, on {tensor.device.type}: no plain numbers. Save the "
                "state_dict() of network.float().cpu().",
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ConversionError("not_finite", f"{name} holds values that are not finite.")
    stated = config.get("name")
    if stated in UNITS and stated != matched:
        raise ConversionError(
            "architecture_mismatch", f"config.json says {stated}, but the tensors are those of {matched}."
        )
    return Weights(
        state={k: t.to(torch.float32) if t.is_floating_point() else t for k, t in state.items()},
        architecture=matched,
        prefix=prefix,
        dropped=dropped,
        source=source,
        revision=revision,
        sha256=digest,
        color_order=_color_order(config),
        dataset=dataset_in_name(str(config.get("_name_or_path", ""))) or dataset_in_name(source),
    )


def _is_plain(name: str, tensor: Tensor) -> bool:
    """Whether it holds numbers that become float32 as they are: neither quantised ones nor such of another device."""
    kinds = (*_FLOATS, torch.int64, torch.int32) if name.endswith(_COUNTER) else _FLOATS
    return tensor.dtype in kinds and tensor.layout is torch.strided and tensor.device.type == "cpu"


def match_architecture(shapes: Mapping[str, tuple[int, ...]], wanted: Architecture | None = None) -> Architecture:
    """Name the architecture whose layout `shapes` has exactly.

    Raises:
        ConversionError: `architecture_mismatch` when they are another one's than `wanted`; `layout_mismatch`,
            naming what is missing, what is extra and what has the wrong shape, when they are nobody's.
    """
    differences = {name: _differences(layout(name), shapes) for name in UNITS}
    nearest = min(UNITS, key=lambda name: sum(len(part) for part in differences[name]))
    exact = not any(differences[nearest])
    if exact and wanted in (None, nearest):
        return nearest
    target = wanted or nearest
    described = f"not {target}'s layout: {_describe(*differences[target])}"
    if exact:
        raise ConversionError("architecture_mismatch", f"The tensors are those of {nearest}, {described}.")
    raise ConversionError("layout_mismatch", f"The tensors are {described}.")


_Shapes = dict[str, tuple[int, ...]]


def _differences(
    expected: Mapping[str, tuple[int, ...]], actual: Mapping[str, tuple[int, ...]]
) -> tuple[_Shapes, _Shapes, dict[str, tuple[tuple[int, ...], tuple[int, ...]]]]:
    missing = {name: shape for name, shape in expected.items() if name not in actual}
    extra = {name: shape for name, shape in actual.items() if name not in expected}
    wrong = {
        name: (shape, actual[name]) for name, shape in expected.items() if name in actual and actual[name] != shape
    }
    return missing, extra, wrong


def _describe(missing: _Shapes, extra: _Shapes, wrong: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> str:
    parts = []
    for title, items in (
        ("missing", [f"{name} {list(shape)}" for name, shape in missing.items()]),
        ("extra", [f"{name} {list(shape)}" for name, shape in extra.items()]),
        (
            "wrong shape",
            [f"{name} {list(got)} instead of {list(want)}" for name, (want, got) in wrong.items()],
        ),
    ):
        if items:
            more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
            parts.append(f"{len(items)} {title} ({', '.join(items[:_SHOWN])}{more})")
    return "; ".join(parts)


def _prefixes(names: Iterable[str]) -> list[str]:
    """What stands before the names of each network."""
    return [name.removesuffix(_ANCHOR) for name in names if name == _ANCHOR or name.endswith(f".{_ANCHOR}")]


def _unwrap(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    prefixes = _prefixes(tensors)
    if len(prefixes) > 1:
        raise ConversionError(
            "network_not_found",
            f"The file holds {len(prefixes)} networks ({', '.join(prefix or 'no prefix' for prefix in prefixes)}): "
            "which is meant cannot be told. Save one alone.",
        )
    if not prefixes:
        shown = ", ".join(list(tensors)[:_SHOWN]) or "no tensor at all"
        raise ConversionError("network_not_found", f"No tensor is named …{_ANCHOR}; there are {shown}, ….")
    prefix = prefixes[0]
    # the margin head belongs to training: it holds one vector for every training subject
    parts = prefix.split(".")
    heads = tuple(".".join([*parts[:depth], _HEAD]) for depth in range(len(parts)))
    dropped = tuple(name for name in tensors if name.startswith(heads))
    network = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    # a tensor outside the prefix keeps its full name, so that the layout check names it as extra
    return {name.removeprefix(prefix): tensor for name, tensor in network.items()}, prefix, dropped


def _count_batches(state: dict[str, Tensor]) -> None:
    """Add the counters of batch normalisation where a file is without them: only training reads them."""
    for name in [name for name in state if name.endswith(_STATISTIC)]:
        counter = name.removesuffix(_STATISTIC) + _COUNTER
        state.setdefault(counter, torch.zeros((), dtype=torch.int64))


def _locate(reference: str) -> tuple[Path, str, str | None]:
    path = Path(reference)
    if path.is_file():
        return path, path.name, None
    hub = _HUB_REFERENCE.fullmatch(reference)
    if path.is_dir():
        raise ConversionError("not_found", f"{reference} is a folder: give the file of weights in it.")
    if hub is None:
        raise ConversionError(
            "not_found",
            f"There is no file {reference}, and it is not a repository written as owner/name@commit.",
        )
    repository, revision = hub["repo"], hub["revision"]
    if not _COMMIT.fullmatch(revision):
        raise ConversionError(
            "revision_required",
            f"Pin {repository} to a commit (40 hexadecimal digits): what a branch or tag names can change.",
        )
    return _download(repository, revision), repository, revision


def _download(repository: str, revision: str) -> Path:
    try:
        import huggingface_hub  # type: ignore[import-not-found, unused-ignore]
        from huggingface_hub.errors import HfHubHTTPError  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ConversionError(
            "hub_unavailable",
            "Install huggingface_hub to download, or fetch model.safetensors and config.json yourself "
            "and give the path.",
        ) from error
    try:
        huggingface_hub.hf_hub_download(repository, "config.json", revision=revision)
        return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors", revision=revision))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise ConversionError(
            "hub_unavailable",
            f"{repository}@{revision} could not be downloaded: {reason}. Check the network and the repository's name; "
            "one that asks for a log-in needs HF_TOKEN. Or fetch model.safetensors and config.json yourself and give "
            "the path.",
        ) from error


def _read_config(path: Path) -> dict[str, Any]:
    """The source's `config.json`, flattened: the author's wrapper keeps the network's part under `conf`."""
    beside = path.with_name("config.json")
    if not beside.is_file():
        return {}
    try:
        config = json.loads(beside.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConversionError("config_invalid", "config.json beside the weights is not readable JSON.") from error
    if not isinstance(config, dict):
        raise ConversionError("config_invalid", "config.json beside the weights is not an object.")
    inner = config.get("conf")
    flat = config | inner if isinstance(inner, dict) else config
    if flat.get("output_dim", DIMENSION) != DIMENSION or flat.get("input_size", [3, 112, 112]) != [
        3,
        112,
        112,
    ]:
        raise ConversionError(
            "config_invalid", "config.json states another input size or dimension than 3×112×112 and 512."
        )
    return flat


def _color_order(config: Mapping[str, Any]) -> ColorOrder | None:
    stated = config.get("color_space")
    if stated is None:
        return None
    if stated not in ("RGB", "BGR"):
        raise ConversionError("config_invalid", f"config.json states the color_space {stated!r}, not RGB or BGR.")
    return cast(ColorOrder, stated)
