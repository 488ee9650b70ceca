"""A network, and labelled "people" of coloured blocks that it tells apart: what quantising is tried on."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ml_models.conversion import onnx_graph
from ml_models.conversion.separation import LabelledFaces
from ml_models.engine.types import canonical_json
from ml_models.evaluation.lists.pairs import Comparisons, PairList
from tests.support.networks import contract

SUBJECTS, EACH, DIMENSION = 40, 4, 32
CONTRACT = contract(dimension=DIMENSION)


def network(path: Path, *, offset: float = 0.0, fragile: bool = False, common: float = 0.0) -> Path:
    """Blocks of pixels through three random layers. With `offset`, the last adds and a Sub takes away a number so
    large that eight bits cannot hold what lies between; `fragile` does so to every layer. With `common`, the last
    layer's weights are that number, and what tells people apart is little beside it."""
    rng = np.random.default_rng(0)
    widths, nodes, weights, last = [3 * 14 * 14, 64, 64, DIMENSION], [], [], "flat"
    for index in range(3):
        big = offset if index == 2 or fragile else 0.0
        kernel = rng.normal(size=(widths[index], widths[index + 1])) / np.sqrt(widths[index])
        kernel += common if index == 2 else 0.0
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
