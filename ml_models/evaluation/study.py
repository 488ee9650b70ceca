"""A study: pair lists whose images were embedded once, and the figures measured on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.fuse import Fusion
from ..engine.types import Vectors
from . import scoring
from .attempts import Attempts, every_cell
from .lists.pairs import Comparisons, Pool, comparisons_needed
from .pictures.embedding import Embedded
from .rates.metrics import RATES, TAR_AT, Rate, Subjects, System
from .rates.systems import Scores, Systems, advantage
from .scoring import Labelled, Side

__all__ = ["Scores", "Study", "measure", "score_with"]


@dataclass(frozen=True, slots=True)
class Study:
    """Lists and their vectors: `listed` has the pairs as written, `all_pairs` every image against every other. `probes`
    are the second images when these differ from `embedded`, under a stress say; `condition` and `side` are as in
    `Labelled`."""

    listed: Pool
    all_pairs: Pool
    embedded: Embedded
    probes: Embedded | None = None
    condition: str = ""
    side: Side = "probes"

    def labelled(self, pool: Pool) -> list[Labelled]:
        probes = self.probes or self.embedded
        acquired, quality = self.embedded.acquired, probes.quality["score"]
        return [
            Labelled(
                name,
                c,
                self.embedded.observations(c, probes),
                np.where(acquired[c.a], quality[c.b], np.nan),
                _single_pictures(self.embedded),
                _single_pictures(probes),
                self.condition,
                self.side,
                (self.embedded.quality["glasses"][:, None], probes.quality["glasses"][:, None]),
            )
            for name, c in zip(pool.names, pool.lists, strict=True)
        ]

    def cells(self) -> list[Attempts]:
        """Attempts of several references and frames: see `attempts`."""
        return every_cell(self.all_pairs, self.embedded, self.probes, self.condition)

    def of_subjects(self, wanted: NDArray[np.bool_]) -> Study:
        """Only comparisons whose subjects are both wanted; `wanted` has one flag a subject."""
        return self._only(lambda c: wanted[c.subject_a] & wanted[c.subject_b])

    def of_images(self, first: NDArray[np.int32] | None, second: NDArray[np.int32] | None) -> Study:
        """Only comparisons of these first images with these second images; None for all."""

        def wanted(c: Comparisons) -> NDArray[np.bool_]:
            keep = np.ones(len(c), bool)
            for side, images in ((c.a, first), (c.b, second)):
                if images is not None:
                    keep &= np.isin(side, images)
            return keep

        return self._only(wanted)

    def _only(self, wanted: Callable[[Comparisons], NDArray[np.bool_]]) -> Study:
        def only(pool: Pool) -> Pool:
            return replace(pool, lists=tuple(c.take(wanted(c)) for c in pool.lists))

        return replace(self, listed=only(self.listed), all_pairs=only(self.all_pairs))

    def under(self, stressed: Embedded, condition: str, side: Side = "probes") -> Study:
        """The same comparisons with the images of one side, or of both, under a stress: `stressed` are all images, in
        the same order; `condition` and `side` as in `Labelled`."""
        references = self.embedded if side == "probes" else stressed
        probes = self.embedded if side == "references" else stressed
        return replace(self, embedded=references, probes=probes, condition=condition, side=side)

    def alike(self, group: NDArray[np.int32]) -> Study:
        """Only comparisons of two images of one group; `group` has one number an image."""
        return self._only(lambda c: group[c.a] == group[c.b])

    def stressed_of(self, c: Comparisons) -> tuple[Embedded, NDArray[np.int32]]:
        """The images of these comparisons that are under the stress."""
        if self.side == "references":
            return self.embedded, np.unique(c.a)
        return self.probes or self.embedded, np.union1d(c.a, c.b) if self.side == "both" else np.unique(c.b)

    def digest(self, pool: Pool) -> str:
        """sha256 of which pictures are compared with which, by their content and not their files' names: two reports of
        one digest were measured on the same comparisons."""
        digest = hashlib.sha256()
        for c in pool.lists:
            for column in (c.a, c.b, c.subject_a, c.subject_b, c.fold):
                digest.update(np.ascontiguousarray(column, "<i4").tobytes() + b"|")
        for image in self.embedded.digests:
            digest.update(bytes.fromhex(image))
        return digest.hexdigest()


def cells(study: Study, stressed: Mapping[str, Study]) -> list[tuple[str, Attempts]]:
    """The attempts in which thresholds must hold the target, each with the name of its stress: the clean ones, "", and
    those whose frames are under a stress that belongs to a condition, since another rule decides these. Where the
    references are under it single pictures say the most: several draw the scores of strangers together."""
    with_condition = {name: other for name, other in stressed.items() if other.condition and other.side == "probes"}
    return [(name, cell) for name, other in {"": study, **with_condition}.items() for cell in other.cells()]


def _single_pictures(embedded: Embedded) -> dict[str, Vectors]:
    """Each member's vectors in the shape of `Labelled`, one picture an image."""
    return {name: vectors[:, None] for name, vectors in embedded.vectors.items()}


def acquired(studies: Sequence[Study]) -> list[Labelled]:
    """Every image against every other, study by study and list by list, where both were acquired."""
    return [item.only_acquired() for study in studies for item in study.labelled(study.all_pairs)]


def score_with(fusion: Fusion, labelled: Sequence[Labelled]) -> Scores:
    """Every list scored by one decision rule."""
    return Scores(of_members(fusion, labelled), [scoring.score(fusion, item) for item in labelled])


def of_members(fusion: Fusion, labelled: Sequence[Labelled]) -> list[Labelled]:
    """Without what other networks than the rule's members observed."""
    return [replace(item, observations=item.observations.of(fusion.members)) for item in labelled]


def measure(
    study: Study, compared: Sequence[Systems], pooled: Systems, listed: Sequence[Systems], threshold: float | None
) -> dict[str, Any]:
    """The report on a version: `subjects`, `images`, `mated`, `non_mated`, `fta`, `failures`, `threshold`,
    `fmr`, `fnmr`, `far`, `frr`, `members`, `fused`, `lists` (the same by list, where there are several),
    `warnings`.

    Args:
        compared, pooled: the comparisons that error rates are counted on, list by list, and all lists' in one.
        listed: the lists' own pairs: an accuracy means something only where mated pairs are about half.
        threshold: of the full voter set, for the reader; None where cross-validation gave each part its own.
    """
    of_list = [_figures(study, *both) for both in zip(compared, listed, strict=True)]
    several = len(of_list) > 1
    result = _figures(study, pooled, Systems.together(listed)) if several else of_list[0]
    return {
        **result,
        "threshold": threshold,
        "lists": dict(zip(study.listed.names, of_list, strict=True)) if several else {},
        "warnings": [*study.listed.warnings, *_crowds(study), *_too_few(result["non_mated"])],
    }


def failure_rate(study: Study, embedded: Embedded, subjects: Subjects, used: NDArray[np.int32]) -> Rate:
    """The share of these images that could not be acquired."""
    who = study.listed.subject_of[used]
    images = Comparisons(used, used, who, who, np.zeros(len(used), np.int32))
    everyone = np.ones(len(used), bool)
    return System(images, np.zeros(len(used)), subjects).share(~embedded.acquired[used], everyone)


def _figures(study: Study, compared: Systems, listed: Systems) -> dict[str, Any]:
    comparisons, subjects = compared.comparisons, compared.subjects

    def of(system: System, of_list: System) -> dict[str, Any]:
        return {
            **{key: rate.of(of_list if rate.listed else system) for key, rate in RATES.items()},
            "tar_at_fmr": {f"{fmr:.10f}".rstrip("0"): system.tar_at_fmr(fmr) for fmr in TAR_AT},
        }

    decided = compared.fused
    used = np.union1d(comparisons.a, comparisons.b)
    return {
        "subjects": len(np.union1d(comparisons.subject_a, comparisons.subject_b)),
        "images": len(used),
        "mated": int(comparisons.same.sum()),
        "non_mated": int((~comparisons.same).sum()),
        "fta": failure_rate(study, study.embedded, subjects, used),
        "failures": study.embedded.failures(used),
        "fmr": decided.fmr(0.0),
        "fnmr": decided.fnmr(0.0),
        "far": decided.far(0.0),
        "frr": decided.frr(0.0),
        "members": {name: of(member, listed.members[name]) for name, member in compared.members.items()},
        "fused": {
            **of(decided, listed.fused),
            "cllr": compared.scored.cllr(),
        },
        "advantage": advantage(compared),
    }


def _crowds(study: Study) -> list[str]:
    crowded = int(study.embedded.crowded.sum())
    return (
        [f"In {crowded} images with several faces the largest was taken; the service refuses them."] if crowded else []
    )


def _too_few(non_mated: int) -> list[str]:
    return [
        f"{non_mated} non-mated comparisons bound an FMR at {3 / non_mated:.2g} at best: an FMR of {fmr:g} takes "
        f"{comparisons_needed(fmr)}. Compare all with all (--all-pairs), or bring more people."
        for fmr in TAR_AT
        if non_mated < comparisons_needed(fmr)
    ]
