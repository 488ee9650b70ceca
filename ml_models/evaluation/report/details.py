"""What a report shows besides the rates: curves, distributions, the worst errors, and what live traffic is compared
with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..lists.pairs import Flags
from ..pictures.embedding import Embedded
from ..rates.metrics import System
from ..rates.reliability import reliability
from ..rates.systems import Systems
from ..scoring import Values

SCORE_EDGES = tuple(range(-15, 31))
"""Natural-log likelihood ratios; the outermost bins hold what lies beyond them."""
QUALITY_EDGES = tuple(round(i / 20, 2) for i in range(21))
WORST = 12
_DET_POINTS = 120


def details(systems: Systems, embedded: Embedded) -> dict[str, Any]:
    """`det` by system, `histogram` of the fused score, `reliability`, `worst` and `live`."""
    curves = {**systems.members, "fused": systems.fused}
    return {
        "det": {name: _curve(system) for name, system in curves.items()},
        "histogram": _histogram(systems),
        "reliability": reliability(systems.scored),
        "worst": _worst(systems, embedded),
        "live": _live(systems, embedded),
    }


def counts(values: Values, edges: tuple[float, ...]) -> list[int]:
    """How many values fall into each bin; values beyond the edges count in the first or last bin."""
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf))
    return [int(count) for count in np.histogram(inside, edges)[0]]


def _curve(system: System) -> list[dict[str, float]]:
    return [{"fmr": round(p["fmr"], 9), "fnmr": round(p["fnmr"], 6)} for p in system.det(_DET_POINTS)]


def _histogram(systems: Systems) -> dict[str, Any]:
    mated, others = (side & systems.acquired for side in (systems.comparisons.same, ~systems.comparisons.same))
    return {
        "edges": list(SCORE_EDGES),
        "mated": counts(systems.score[mated], SCORE_EDGES),
        "non_mated": counts(systems.score[others], SCORE_EDGES),
    }


def _live(systems: Systems, embedded: Embedded) -> dict[str, Any]:
    """The distributions that live traffic is compared with: scores of mated comparisons that match, and the probes'
    quality."""
    matched = systems.comparisons.same & systems.acquired & (systems.margin >= 0)
    quality = embedded.quality["score"][np.unique(systems.comparisons.b)]
    return {
        "score_edges": list(SCORE_EDGES),
        "matches": counts(systems.score[matched], SCORE_EDGES),
        "quality_edges": list(QUALITY_EDGES),
        "quality": counts(quality[np.isfinite(quality)], QUALITY_EDGES),
    }


def _worst(systems: Systems, embedded: Embedded) -> dict[str, list[dict[str, Any]]]:
    """The errors furthest from the threshold. A pair is named by the first twelve hex digits of both files' sha256:
    whoever has the pictures can find it, and nobody else learns whom it shows."""
    matched, same = systems.margin >= 0, systems.comparisons.same
    return {
        "false_matches": _named(systems, embedded, ~same & matched, -systems.margin),
        "false_non_matches": _named(systems, embedded, same & ~matched & systems.acquired, systems.margin),
    }


def _named(systems: Systems, embedded: Embedded, wrong: Flags, order: Values) -> list[dict[str, Any]]:
    at = np.flatnonzero(wrong)
    errors = []
    for index in at[np.argsort(order[at], kind="stable")[:WORST]]:
        pair = [int(systems.comparisons.a[index]), int(systems.comparisons.b[index])]
        quality = {name: values[pair] for name, values in embedded.quality.items()}
        errors.append(
            {
                "pair": "–".join(embedded.digests[i][:12] for i in pair),
                "score": round(float(systems.score[index]), 2),
                "similarities": {name: round(float(values[index]), 3) for name, values in systems.similarities.items()},
                "yaw_deg": round(float(np.abs(quality["yaw_deg"]).max()), 1),
                "brightness": round(float(quality["brightness"].min()), 1),
                "sharpness": round(float(quality["sharpness"].min()), 1),
                "face_px": round(float(quality["face_px"].min()), 1),
            }
        )
    return errors
