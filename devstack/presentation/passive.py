"""The network that looks for attacks, at the version's threshold."""

from collections.abc import Iterator, Mapping

import numpy as np

from devstack.dev_eval import in_threads, png
from devstack.presentation.measured import Measured, Shown

PASSIVE = """
## The network that looks for attacks

At the version's threshold. Its calibration and threshold were fitted on these people and these drawings (the cut-out
came later): the figures show what the numbers mean, and not what a real attack meets. A cut-out is flat or bent up to
10 cm; its outline, its eyes or both are cut out, and through the holes look the person's own eyes, not printed. With
real attacks and other cameras this network was measured elsewhere with an AUC of 0.85 to 1.00 by set, 0 to 55 % of
genuine people refused and 0 to 25 % of attacks accepted at its default cut. Never enforce it before it was measured on
your own cameras (`manage.py evaluate_presentation`).

| presentations | of | rate (95 % over subjects) |
| --- | --- | --- |"""


def passive(m: Measured) -> Iterator[str]:
    from ml_models.evaluation.pictures.attacks import SPECIES
    from ml_models.evaluation.rates.presentation import Presented, rates

    fronts = [one for one in m.london if one.step == "front"]
    work = [(name, one) for one in fronts for name in ("bona_fide", *SPECIES)]

    def presented(item: tuple[str, Shown]) -> Presented:
        name, one = item
        face = one.face
        if name != "bona_fide":
            seed = int(one.subject) * 2 + (one.expression == "smiling")
            face = m.extract(png(SPECIES[name](m.scene(one), np.random.default_rng(seed))))
        seen = [face.presentation] if face and face.presentation else []
        assert m.passive  # noqa: S101 - of a version with a detector
        verdict, score = m.passive.judge(seen)
        return Presented(one.subject, "", name, verdict if face else "no_response", score)

    found = rates([*in_threads(presented, work)])
    yield PASSIVE
    yield f"| bona fide: London, front | {found['bona_fide']['count']} | BPCER {percent(found['bona_fide']['error'])} |"
    for name, item in found["species"].items():
        yield f"| {name.replace('_', ' ')} (synthetic) | {item['count']} | APCER {percent(item['error'])} |"
    at = {key: percent(value) if value else "–" for key, value in found["bpcer_at_apcer"].items()}
    yield f"\nBPCER where the worst species has an APCER of 5 %: {at['0.05']}; of 1 %: {at['0.01']}."


def percent(rate: Mapping[str, float]) -> str:
    value, low, high = (f"{100 * rate[name]:.1f}" for name in ("value", "low", "high"))
    return f"{value} % ({low} – {high})"
