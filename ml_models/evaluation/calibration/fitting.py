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

import numpy as np
from numpy.typing import NDArray

from ...engine.fuse import Condition, Fusion, Member, voter_key
from ..scoring import Labelled, Observations, score
from .conditions import learn, mean_tar
from .rules import CannotCalibrate, fit_rule, require_both, suffices

# At most so many non-mated comparisons of a list enter the regressions: more change the fourth digit and take minutes.
# Thresholds are set on all of them.
STRANGERS = 40_000
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

    A condition is dropped when its comparisons do not suffice, or when its rule does not raise the TAR of its own
    lists. Its probes are then left to the other rules: all are fitted again, until no condition is dropped.

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
    sample = _Sample([_thinned(item) for item in acquired], [*acquired, *cells], target_fmr)
    conditions = learn(sample.thinned, members)
    while True:
        fusion = _fit_with_conditions(members, sample, conditions)
        useful = [condition for condition in fusion.conditions if _raises_tar(fusion, condition, sample)]
        if len(useful) == len(conditions):
            return fusion
        conditions = useful


@dataclass(frozen=True, slots=True)
class _Sample:
    """The comparisons that numbers are fitted on.

    `thinned` are the lists, with few of their strangers: regressions are fitted on these. `whole` are the lists and the
    cells, with all of their strangers: thresholds are set on these.

    Each rule, the plain one or a condition's, is fitted on the probes that it will decide. These are the probes that
    the conditions' discriminants *classify* as its own, whatever the list's stress. Methods therefore take `index`, a
    rule's place in `conditions`, −1 for the plain rule.
    """

    thinned: Sequence[Labelled]
    whole: Sequence[Labelled]
    target_fmr: float

    def comparisons(self, conditions: Sequence[Condition], index: int) -> list[Labelled]:
        """The comparisons to fit a rule's regressions on, list by list."""
        return [_of_rule(item, item.classify(conditions) == index, conditions, index) for item in self.thinned]

    def strangers(self, conditions: Sequence[Condition], index: int) -> list[Observations]:
        """The non-mated comparisons to set a rule's thresholds on; the worst part decides.

        A list whose stress belongs to the rule is a part by itself. The other lists' probes are classified into the
        rule by mistake. In any one list these are few, and the worst list's threshold would be chance: so they are
        pooled into one part.

        To the plain rule belong clean lists, lists under a stress without a condition, and lists whose condition is not
        in `conditions` because it got no rule.
        """
        own: list[Observations] = []
        misclassified: list[Observations] = []
        for item in self.whole:
            mask = (item.classify(conditions) == index) & ~item.comparisons.same
            part = _of_rule(item, mask, conditions, index).observations
            (own if _rule_of(item, conditions) == index else misclassified).append(part)
        return [*own, Observations.concatenate(misclassified)] if misclassified else own


def _rule_of(item: Labelled, conditions: Sequence[Condition]) -> int:
    """The index of the rule that a list's stress belongs to, −1 for the plain one."""
    names = [condition.name for condition in conditions]
    return names.index(item.condition) if item.condition in names else -1


def _of_rule(item: Labelled, mask: NDArray[np.bool_], conditions: Sequence[Condition], index: int) -> Labelled:
    """The comparisons in `mask`, their similarities as the rule takes them: a condition's relative to its centroids."""
    part = item.take(mask)
    return part.relative_to(conditions[index].centroids) if index >= 0 else part


def _fit_with_conditions(members: Sequence[Member], sample: _Sample, conditions: Sequence[Condition]) -> Fusion:
    """The plain rule, and a rule for each condition that has enough comparisons for one."""
    fitted = []
    for index, condition in enumerate(conditions):
        comparisons, strangers = sample.comparisons(conditions, index), sample.strangers(conditions, index)
        try:
            fusion = _fit_condition(members, comparisons, strangers, sample.target_fmr)
        except CannotCalibrate:
            continue
        fitted.append(replace(condition, fusion=fusion))
    plain = fit_rule(members, sample.comparisons(conditions, -1), sample.strangers(conditions, -1), sample.target_fmr)
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


def _raises_tar(fusion: Fusion, condition: Condition, sample: _Sample) -> bool:
    """Whether the lists of a condition have a higher TAR with the conditions' rules than with the plain one alone."""
    lists = [item for item in sample.thinned if item.condition == condition.name and suffices(item.comparisons.same)]
    if not lists:
        return False
    plain = replace(fusion, conditions=())
    with_conditions, without = (
        mean_tar(lists, lambda item, rule=rule: score(rule, item).margin, sample.target_fmr)  # type: ignore[misc]
        for rule in (fusion, plain)
    )
    return with_conditions > without


def _thinned(item: Labelled) -> Labelled:
    """All mated comparisons, and at most STRANGERS non-mated ones, drawn by a fixed seed."""
    others = np.flatnonzero(~item.comparisons.same)
    keep = item.comparisons.same.copy()
    keep[np.random.default_rng(0).permutation(others)[:STRANGERS]] = True
    return item.take(keep)
