"""Calibration: labelled comparisons → the numbers of a config version.

Five steps, each small enough to be read off the ensemble file (docs/decisions/fusion.md):
1. Each member's similarity and feature norm become its log-likelihood ratio.
2. Each voter set learns its trust: how much each member's vote counts beyond the operator's weight, where it starts.
3. The members are correlated, so that their weighted mean is no log-likelihood ratio: an affine map makes it one.
4. Each condition, blurred or covered probes, gets a rule of its own by steps 1 to 3, on similarities relative to the
   centroids (conditions.py). Norms are left out there: every feature is short, and how short says nothing more.
5. The threshold is the lowest that holds the target FMR in every list, and in every cell of references and frames, by
   itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from ...engine.conditions import CONDITIONS, milder
from ...engine.fuse import Condition, Fusion
from ...engine.voters import Member, voter_key
from ..lists.pairs import comparisons_needed
from ..rates.metrics import threshold_at_fmr
from ..scoring import Labelled, Observations, Side, score
from .conditions import learn
from .rules import CannotCalibrate, fit_rule, margin, require_both

# At most so many non-mated comparisons of a list enter the regressions: more change the fourth digit and take minutes.
# Thresholds are set on all of them.
STRANGERS = 20_000
# In a condition a member abstains when its trust comes out under this. On dev_eval, whoever is held out, members that
# contribute nothing there have 0.33 or less, the others more than 0.6.
MIN_TRUST = 0.5


def fit(
    members: Sequence[Member], lists: Sequence[Labelled], target_fmr: float, cells: Sequence[Labelled] = ()
) -> Fusion:
    """Calibrate members, voter sets, conditions and thresholds.

    In the regressions every list weighs by its mated comparisons, in both classes: otherwise a list with millions of
    strangers would drown the rest. The threshold of a voter set is the highest that any list needs to hold the target
    FMR by itself: one set on a mix of easy and hard strangers would hold it only on that mix.

    A condition is dropped when its comparisons do not suffice, or when it does nothing but decide and does not raise
    the lists' mean TAR. Its faces are then left to the other rules: all are fitted again, until none is dropped.

    Args:
        members: names, weights and quality thresholds; their calibrations are fitted anew.
        lists: comparisons to fit on. The more strangers, the surer the threshold: give all against all.
        target_fmr: for `threshold`; `review_threshold` is at REVIEW_FMR_FACTOR times it.
        cells: attempts of several references or frames, cell by cell. Thresholds hold the target in each cell that has
            enough strangers.

    Raises:
        CannotCalibrate: no list has as many non-mated comparisons as the target takes; says how many would suffice.
    """
    acquired = [item.only_acquired() for item in lists]
    thinned = [_thinned(item) for item in acquired]
    conditions = learn(thinned, members)
    # no threshold is set where both sides show a shared condition: its margin is there for these
    shared = {condition.name for condition in conditions if condition.sides == "shared"}
    counted = [not (item.side == "both" and item.condition in shared) for item in acquired]
    sample = _Sample([*compress(thinned, counted)], [*compress(acquired, counted), *cells], target_fmr)
    while True:
        fusion = _fit_with_conditions(members, sample, conditions)
        tar = _mean_tar(fusion, sample.thinned)
        useful = [c for c in fusion.conditions if _does_more(c) or tar > _tar_without(fusion, c, sample)]
        if len(useful) == len(conditions):
            return fusion
        conditions = useful


def _does_more(condition: Condition) -> bool:
    """Whether a condition does more than decide: it raises other thresholds, or references are refused for it."""
    return condition.sides == "shared" or CONDITIONS[condition.name].refused


@dataclass(frozen=True, slots=True)
class _Sample:
    """The comparisons that numbers are fitted on.

    `thinned` are the lists, with few of their strangers: regressions are fitted on these. `whole` are the lists and the
    cells, with all of their strangers: thresholds are set on these.
    """

    thinned: Sequence[Labelled]
    whole: Sequence[Labelled]
    target_fmr: float


class _Classified:
    """The sample, each comparison with the rule that it will be decided by: each rule, the plain one or a condition's,
    is fitted on what the discriminants *classify* as its own, whatever the list's stress. Methods take `index`, a
    rule's place in `conditions`, −1 for the plain rule."""

    def __init__(self, sample: _Sample, conditions: Sequence[Condition]) -> None:
        self._sample, self._conditions = sample, conditions
        self._of_thinned, self._of_whole = (
            [item.classify(conditions) for item in items] for items in (sample.thinned, sample.whole)
        )

    def comparisons(self, index: int) -> list[Labelled]:
        """The comparisons to fit a rule's regressions on, list by list."""
        return [
            _of_rule(item, classified == index, self._conditions, index)
            for item, (classified, _) in zip(self._sample.thinned, self._of_thinned, strict=True)
        ]

    def strangers(self, index: int, *, two_sided: bool = False) -> list[Observations]:
        """The non-mated comparisons to set a rule's thresholds on, those with one side or those with both in a
        condition; the worst part decides.

        A list whose stress belongs to the rule is a part by itself. The other lists' pictures are classified into the
        rule by mistake. In any one list these are few, and the worst list's threshold would be chance: so they are
        pooled into one part. Of a list with both sides under the stress, those classified by one side are such a
        mistake.

        To the plain rule belong clean lists, lists under a stress without a condition, and lists whose condition is not
        in `conditions` because it got no rule.
        """
        own: list[Observations] = []
        misclassified: list[Observations] = []
        for item, (classified, both) in zip(self._sample.whole, self._of_whole, strict=True):
            mask = (classified == index) & (both == two_sided) & ~item.comparisons.same
            part = _of_rule(item, mask, self._conditions, index).observations
            (own if _belongs(item, self._conditions, index, two_sided) else misclassified).append(part)
        return [*own, Observations.concatenate(misclassified)] if misclassified else own


def _belongs(item: Labelled, conditions: Sequence[Condition], index: int, two_sided: bool) -> bool:
    """Whether a rule is meant for a list's stress. What is graver belongs to the milder condition as well, where both
    sides show it: that graver one was overlooked."""
    own = [i for i, c in enumerate(conditions) if item.condition == c.name and _counts(c, item.side)]
    if not two_sided:
        return index in own and item.side != "both" if index >= 0 else not own
    return item.side == "both" and index >= 0 and conditions[index].name in (item.condition, milder(item.condition))


def _counts(condition: Condition, side: Side) -> bool:
    return condition.sides not in ("both", "shared") or side == "both"


def _of_rule(item: Labelled, mask: NDArray[np.bool_], conditions: Sequence[Condition], index: int) -> Labelled:
    """The comparisons in `mask`, their similarities as the rule takes them: a condition's relative to its centroids."""
    part = item.take(mask)
    return part.relative_to(conditions[index]) if index >= 0 else part


def _fit_with_conditions(members: Sequence[Member], sample: _Sample, conditions: Sequence[Condition]) -> Fusion:
    """The plain rule, and a rule for each condition that has enough comparisons for one."""
    classified, target_fmr = _Classified(sample, conditions), sample.target_fmr
    fitted = []
    for index, condition in enumerate(conditions):
        if condition.sides == "shared":
            fitted.append(condition)
            continue
        try:
            both = classified.strangers(index, two_sided=True)
            single = both if condition.sides == "both" else classified.strangers(index)
            fusion = _fit_condition(members, classified.comparisons(index), single, target_fmr)
        except CannotCalibrate:
            continue
        lacking = 0.0 if condition.sides == "both" else margin(fusion, both, target_fmr)
        fitted.append(replace(condition, fusion=fusion, both_margin=lacking))
    plain = fit_rule(members, classified.comparisons(-1), classified.strangers(-1), target_fmr)
    return replace(plain, conditions=tuple(fitted))


def _fit_condition(
    members: Sequence[Member], comparisons: Sequence[Labelled], strangers: Sequence[Observations], target_fmr: float
) -> Fusion:
    """A condition's rule, among the members that contribute there; the others abstain."""
    informative = _informative(members, comparisons)
    fusion = fit_rule(informative, comparisons, strangers, target_fmr, norms=False)
    trust = fusion.voter_sets[voter_key(member.name for member in fusion.members)].trust
    trusted = [member for member in fusion.members if trust[member.name] >= MIN_TRUST]
    if len(trusted) < len(fusion.members):
        fusion = fit_rule(trusted, comparisons, strangers, target_fmr, norms=False)
    return fusion


def _informative(members: Sequence[Member], comparisons: Sequence[Labelled]) -> list[Member]:
    """The members whose mean similarity of mated comparisons is higher than that of non-mated ones.

    Raises:
        CannotCalibrate: there is none.
    """
    same = np.concatenate([item.comparisons.same for item in comparisons])

    require_both(same)

    def separates(name: str) -> bool:
        similarity = np.concatenate([item.observations.similarities[name] for item in comparisons])
        return bool(similarity[same].mean() > similarity[~same].mean())

    informative = [member for member in members if separates(member.name)]
    if not informative:
        raise CannotCalibrate("In this condition no member's mated comparisons are more similar than non-mated ones.")
    return informative


def _mean_tar(fusion: Fusion, lists: Sequence[Labelled], raised: float = 0.0) -> float:
    """The mean of the lists' TARs at the thresholds; the plain rule's are `raised`."""
    tars = []
    for item in lists:
        if (same := item.comparisons.same).any():
            mated = item.take(same)
            margin = score(fusion, mated).margin - raised * (mated.classify(fusion.conditions)[0] < 0)
            tars.append((margin >= 0).mean())
    return float(np.mean(tars))


def _tar_without(fusion: Fusion, condition: Condition, sample: _Sample) -> float:
    """The mean TAR without a condition, when the plain rule would have to hold the target FMR in its lists, too."""
    without = replace(fusion, conditions=tuple(other for other in fusion.conditions if other is not condition))
    needed = 0.0
    for item in sample.thinned:
        if item.condition == condition.name and _counts(condition, item.side):
            strangers = np.sort(score(without, item.take(~item.comparisons.same)).margin)[::-1]
            if len(strangers) >= comparisons_needed(sample.target_fmr):
                needed = max(needed, threshold_at_fmr(strangers, sample.target_fmr))
    return _mean_tar(without, sample.thinned, needed)


def _thinned(item: Labelled) -> Labelled:
    """All mated comparisons, and at most STRANGERS non-mated ones, drawn by a fixed seed."""
    others = np.flatnonzero(~item.comparisons.same)
    keep = item.comparisons.same.copy()
    keep[np.random.default_rng(0).permutation(others)[:STRANGERS]] = True
    return item.take(keep)
