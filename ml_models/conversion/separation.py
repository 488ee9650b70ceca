"""The separation proof: a changed network must separate mated from non-mated comparisons as well as the float one.

Both are measured on labelled lists, each at its own threshold. Accuracy would hide the damage of quantisation: on faces
in profile a network can lose a third of its true accepts while its accuracy on LFW stays the same. So the change of the
TAR at an FMR of 0.1 % must be small even at the lower end of its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml_models.engine.embed import Embedder
from ml_models.engine.types import InputContract, Vectors
from ml_models.evaluation.lists.pairs import Comparisons, PairList, PairListRefused, read
from ml_models.evaluation.rates.metrics import Subjects, System
from ml_models.evaluation.scoring import dot_products

from .errors import ConversionError
from .faces import Aligner, Progress
from .proof import Crops

FMR = 0.001
LEVEL_TAIL = 0.025  # the lower end of a two-sided 95 % interval
Kind = Literal["frontal", "profile"]
ALLOWED_POINTS: dict[Kind, float] = {"frontal": -1.0, "profile": -3.0}
# Strangers of a working network lie around 0; the public INT8 file that gave everyone nearly one vector lay near 1.
COLLAPSED_COSINE = 0.8
_BATCH, _PROGRESS_EVERY = 8, 1024

Embed: TypeAlias = Callable[[Crops], Vectors]
"""Aligned crops, RGB uint8 (N, 112, 112, 3) → unit vectors, float32 (N, D)."""


@dataclass(frozen=True, slots=True)
class LabelledFaces:
    """A pair list with its faces aligned; `crops[i]` belongs to image `i`, zeros where `acquired[i]` is false."""

    name: str
    kind: Kind
    pairs: PairList
    crops: Crops
    acquired: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Separation:
    """One list's verdict. Rates in [0, 1] at FMR 0.1 %, each network at its own threshold; changes in points.

    `change_low` is the lower end of the 95 % interval over subjects; both networks share the draws.
    """

    name: str
    kind: Kind
    subjects: int
    mated: int
    non_mated: int
    tar_float: float
    tar_changed: float
    change: float
    change_low: float
    allowed: float

    @property
    def passed(self) -> bool:
        return self.change_low > self.allowed

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        return (
            f"{self.name}: TAR at FMR 0.1 % {100 * self.tar_float:.1f} → {100 * self.tar_changed:.1f} %, change "
            f"{self.change:+.2f} points, at worst {self.change_low:+.2f} ({self.allowed:+.0f} allowed)"
        )


def read_faces(path: Path, kind: Kind, aligner: Aligner, progress: Progress | None = None) -> LabelledFaces:
    """Read a pair list and align its images, which lie in `images/` beside it (else beside it).

    Raises:
        ConversionError: `pairs_refused`.
    """
    folder = path.parent / "images"
    try:
        pairs = read(path, folder if folder.is_dir() else path.parent)
    except PairListRefused as error:
        raise ConversionError("pairs_refused", str(error)) from error
    crops = []
    for done, image in enumerate(pairs.images, start=1):
        crops.append(aligner.crop(image))
        if progress:
            progress(done, len(pairs.images))
    nothing = np.zeros((112, 112, 3), np.uint8)
    return LabelledFaces(
        name=pairs.name,
        kind=kind,
        pairs=pairs,
        crops=np.stack([nothing if crop is None else crop for crop in crops]),
        acquired=np.array([crop is not None for crop in crops]),
    )


def embedder(model: Path, contract: InputContract) -> Embed:
    """The network as `Embed`."""
    return partial(embed_all, Embedder(model, contract))


def embed_all(network: Embedder, crops: Crops) -> Vectors:
    """Unit vectors, float32 (N, D), of aligned crops; eight faces at a time."""
    return np.concatenate([network.embed(crops[i : i + _BATCH]).vectors for i in range(0, len(crops), _BATCH)])


def vectors(embed: Embed, faces: LabelledFaces, say: Callable[[str], None] = lambda text: None) -> Vectors:
    """One row an image, float32 (I, D); zeros where no face was acquired."""
    crops = faces.crops[faces.acquired]
    parts = []
    for start in range(0, len(crops), _PROGRESS_EVERY):
        parts.append(embed(crops[start : start + _PROGRESS_EVERY]))
        say(f"{faces.name}: {min(start + _PROGRESS_EVERY, len(crops))} of {len(crops)} faces embedded")
    acquired = np.concatenate(parts)
    table = np.zeros((len(faces.crops), acquired.shape[1]), np.float32)
    table[faces.acquired] = acquired
    return table


def separation(faces: LabelledFaces, plain: Vectors, changed: Vectors) -> Separation:
    """Compare two networks on one list: its mated pairs, and all strangers against all.

    Args:
        plain, changed: from `vectors`, of the float and the changed network.

    Raises:
        ConversionError: `pairs_too_few` when the list cannot show FMR 0.1 %.
    """
    comparisons = _mated_and_all_strangers(faces.pairs)
    comparisons = comparisons.take(faces.acquired[comparisons.a] & faces.acquired[comparisons.b])
    draws = Subjects(len(faces.pairs.subjects))
    tars, replicates = [], []
    for table in (plain, changed):
        system = System(comparisons, dot_products(table, comparisons.a, comparisons.b), draws)
        tar = system.tar_at_fmr(FMR)
        if tar is None:
            raise ConversionError(
                "pairs_too_few",
                f"{faces.name} has {int((~comparisons.same).sum())} non-mated comparisons; an FMR of {FMR:.1%} "
                f"takes at least {round(1 / FMR)}. Give a list with more people.",
            )
        tars.append(tar["value"])
        replicates.append(system.tar_draws(FMR))
    changes = 100 * (replicates[1] - replicates[0])
    same = int(comparisons.same.sum())
    return Separation(
        name=faces.name,
        kind=faces.kind,
        subjects=len(faces.pairs.subjects),
        mated=same,
        non_mated=len(comparisons) - same,
        tar_float=tars[0],
        tar_changed=tars[1],
        change=100 * (tars[1] - tars[0]),
        change_low=float(np.nanquantile(changes, LEVEL_TAIL)),
        allowed=ALLOWED_POINTS[faces.kind],
    )


def _mated_and_all_strangers(pairs: PairList) -> Comparisons:
    listed, everything = pairs.listed.take(pairs.listed.same), pairs.all_pairs().listed
    strangers = everything.take(~everything.same)
    return Comparisons(
        *(
            np.concatenate([getattr(listed, field), getattr(strangers, field)])
            for field in ("a", "b", "subject_a", "subject_b", "fold")
        )
    )


def mean_cosine(table: Vectors) -> float:
    """Between different rows, which are of unit length."""
    return float((table @ table.T)[~np.eye(len(table), dtype=bool)].mean())


def check_not_collapsed(embed: Embed, crops: Crops, plain: float = 0.0) -> float:
    """The mean cosine between different pictures, which must not be near 1.

    Args:
        plain: the same mean of the float network. Where that is high itself (pictures of few people, a network that was
            never trained), the mean may rise half of the way from it to 1.

    Raises:
        ConversionError: `collapsed`, when the network gives all pictures nearly the same vector, or no finite one.
    """
    mean, allowed = mean_cosine(embed(crops)), max(COLLAPSED_COSINE, (1 + plain) / 2)
    if not mean < allowed:  # so written, NaN fails too
        raise ConversionError(
            "collapsed",
            f"The network gives different pictures nearly the same vector: mean cosine {mean:.3f}, under {allowed:.3f} "
            "is required. Use the float file, or quantise it on other faces.",
        )
    return mean
