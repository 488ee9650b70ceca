"""What is known of the data AdaFace weights were trained on, and what that allows.

The licence of the weights and the terms of the training data are two facts and kept apart. What nobody stated
is `unknown`, and unknown is refused like forbidden wherever money is earned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import ConversionError

CommercialUse = Literal["allowed", "forbidden", "unknown"]

CITATION = """@inproceedings{kim2022adaface,
  title     = {{AdaFace}: Quality Adaptive Margin for Face Recognition},
  author    = {Kim, Minchul and Jain, Anil K. and Liu, Xiaoming},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2022}
}"""

_MIT = "MIT (the author's release); citation required"
_WEBFACE = "WebFace260M licence agreement: research only, no commercial use"
_MS1M = "derived from MS-Celeb-1M, which its publisher withdrew; terms of the images unclear: have it reviewed"


@dataclass(frozen=True, slots=True)
class Dataset:
    """`weights_licence` is the author's for the weights, `terms` those of the images they were trained on."""

    name: str
    title: str
    commercial_use: CommercialUse
    weights_licence: str
    terms: str

    @property
    def training_data(self) -> str:
        return f"{self.title}: {self.terms}"


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("ms1mv2", "MS1MV2", "allowed", _MIT, _MS1M),
        Dataset("ms1mv3", "MS1MV3", "unknown", _MIT, _MS1M),
        Dataset("webface4m", "WebFace4M", "forbidden", "not for commercial use", _WEBFACE),
        Dataset("webface12m", "WebFace12M", "forbidden", "not for commercial use", _WEBFACE),
        Dataset("webface42m", "WebFace42M", "forbidden", "not for commercial use", _WEBFACE),
        Dataset("casia", "CASIA-WebFace", "forbidden", "not for commercial use", "research only"),
        Dataset("vggface2", "VGGFace2", "unknown", "unknown", "withdrawn by its publisher; terms unknown"),
        Dataset("seeded", "no faces at all", "unknown", "none: random weights for tests", "no training"),
    )
}
_ALIASES = {"vgg2": "vggface2", "casiawebface": "casia", "ms1m2": "ms1mv2", "ms1m3": "ms1mv3"}


def find_dataset(name: str) -> Dataset:
    """Look a training set up, however it is spelt (`WebFace4M`, `ms1m-v2`).

    Raises:
        ConversionError: `dataset_unknown`.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    dataset = DATASETS.get(_ALIASES.get(plain, plain))
    if dataset is None:
        raise ConversionError(
            "dataset_unknown", f"The training set {name!r} is not known; known are {', '.join(DATASETS)}."
        )
    return dataset


def dataset_in_name(name: str) -> str | None:
    """The training set that a file or repository is named after, as in `adaface_ir50_ms1mv2.ckpt`."""
    plain = name.lower()
    # longest first, or casia would be found in casia-webface and webface4m missed in webface42m
    for key in sorted([*DATASETS, *_ALIASES], key=len, reverse=True):
        if re.search(rf"(^|[^a-z0-9]){key}([^a-z0-9]|$)", plain):
            return _ALIASES.get(key, key)
    return None


def settle_dataset(given: str | None, source_says: str | None) -> Dataset:
    """The training set of the weights: as given, as the source says, never against the source.

    Raises:
        ConversionError: `dataset_required`, `dataset_unknown`, `dataset_conflict`.
    """
    if given is None:
        if source_says is None:
            raise ConversionError(
                "dataset_required",
                f"The source does not say what it was trained on: give --dataset ({', '.join(DATASETS)}).",
            )
        return find_dataset(source_says)
    dataset = find_dataset(given)
    if source_says is not None and source_says != dataset.name:
        raise ConversionError(
            "dataset_conflict", f"--dataset says {dataset.name}, the name of the source says {source_says}."
        )
    return dataset
