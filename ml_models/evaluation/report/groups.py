"""Do groups of people differ beyond chance? By every attribute of people that the lists have: in failures to acquire,
in false non-matches, and in false matches of strangers of the same group.

The test statistic is Pearson's (1900) chi-square of errors by group. What it would be by chance is found by permuting
the groups over the people (Fisher, 1935): pictures and comparisons of one person are not independent, people are. For
comparisons of two people that is the quadratic assignment procedure (Hubert and Schultz, 1976). People are permuted
among those of the same lists only, since lists differ in difficulty. p-values count the observed permutation as one
(Phipson and Smyth, 2010), and are corrected for the number of tests by Holm (1979).

Where nothing is found, the intervals say what could not be seen: the upper bound of the difference of two groups' rates
(Newcombe, 1998, method 10; of any intervals: Zou and Donner, 2008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lists.pairs import Comparisons, Flags, Words
from ..rates.intervals import SEED, Rate, Subjects
from ..rates.metrics import System
from ..rates.systems import Systems
from ..scoring import Values
from ..study import Study
from . import attributes

LEVEL = 0.05
"""The probability of finding a difference that is not there, in any of a report's tests."""
PERMUTATIONS = 1999
RATES = {"fta": "FTA", "fnmr": "FNMR", "fmr": "FMR of strangers of the same group"}

Numbers = NDArray[np.int64]


def compare(systems: Systems, study: Study) -> dict[str, Any]:
    """Every attribute of people, tested.

    Args:
        systems: the comparisons that the report's rates are counted on.

    Returns: `people`, how many are in a group; `untested`, the attributes without two groups that may be shown; and
    `tests`, each with `by` (the attribute), `rate` (a key of RATES), `groups` (`group`, `people` and `rate` of each),
    `p`, `p_holm`, `differs`, and `room`: `highest` and `lowest`, the two groups that could lie furthest apart unseen,
    and `up_to`, how far, in [0, 1]; and `says`, all of this in sentences, differences first.
    """
    measured, strata = _measured(systems, study), _strata(study)
    tests, untested, in_a_group = [], [], np.zeros(len(study.listed.subjects), bool)
    for by, words in attributes.of_people(study.listed).items():
        of_rate = {rate: counted.test(words, strata) for rate, counted in measured.items()}
        tests += [{"by": by, "rate": rate, **test} for rate, test in of_rate.items() if test]
        untested += [] if any(of_rate.values()) else [by]
        in_a_group |= words != ""
    for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"], test["differs"] = adjusted, adjusted <= LEVEL
    found = {"people": int(in_a_group.sum()), "untested": untested, "tests": tests}
    return {**found, "says": _sentences(found)}


def _sentences(found: Mapping[str, Any]) -> list[str]:
    alike = [test for test in found["tests"] if not test["differs"]]
    sentences = [_difference(test) for test in found["tests"] if test["differs"]]
    if alike:
        sentences.append(_no_difference(alike, len(found["tests"]), found["people"]))
    if found["untested"]:
        sentences.append(
            f"Not compared: {', '.join(found['untested'])}. Fewer than two groups have {attributes.FEWEST_PEOPLE} "
            "people. Bring more."
        )
    return sentences


def _difference(test: Mapping[str, Any]) -> str:
    worst, best = (pick(test["groups"], key=lambda row: row["rate"]["value"]) for pick in (max, min))
    return (
        f"Groups of people differ beyond chance by {test['by']}: the {RATES[test['rate']]} is {_group(worst)}, and "
        f"{_group(best)} (p = {test['p_holm']:.2g}). Decide by the worst group's figures, and calibrate on more of its "
        "people."
    )


def _group(row: Mapping[str, Any]) -> str:
    value, low, high = (f"{100 * row['rate'][key]:.2f}" for key in ("value", "low", "high"))
    return f"{value} % ({low}–{high}) for {row['group']}, {row['people']} people"


def _no_difference(alike: Sequence[Mapping[str, Any]], tests: int, people: int) -> str:
    """Says how large a difference was too small to be found: no difference found is not none."""
    rooms = []
    for rate, title in RATES.items():
        if of_rate := [test for test in alike if test["rate"] == rate]:
            test = max(of_rate, key=lambda test: test["room"]["up_to"])
            room = test["room"]
            rooms.append(
                f"{title} by {100 * room['up_to']:.2g} points ({test['by']}: {room['highest']} and {room['lowest']})"
            )
    by = ", ".join(dict.fromkeys(test["by"] for test in alike))
    return (
        f"No difference beyond chance was found by {by}: {len(alike)} of {tests} tests on {people} people. That is not "
        f"to say that there is none: by the 95 % intervals groups could still differ in {', in '.join(rooms)}."
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm, 1979), in the same order."""
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True, slots=True)
class _Counted:
    """The trials of one error rate, and which of them are errors; a picture is a trial of a person with herself."""

    trials: Comparisons
    errors: Flags
    subjects: Subjects

    def test(self, words: Words, strata: Numbers) -> dict[str, Any] | None:
        """One attribute; `words` is each subject's group, "" where it has none. None without two groups to compare."""
        rows = [row for group in attributes.frequent(words) if (row := self._row(words == group, group))]
        if len(rows) < 2:
            return None
        tested = np.flatnonzero(np.isin(words, [row["group"] for row in rows]))
        return {"groups": rows, "p": self._p_value(tested, words[tested], strata[tested]), "room": _room(rows)}

    def _row(self, member: Flags, group: str) -> dict[str, Any] | None:
        inside = member[self.trials.subject_a] & member[self.trials.subject_b]
        part = self.trials.take(inside)
        people = len(np.union1d(part.subject_a, part.subject_b))
        if people < attributes.FEWEST_PEOPLE:
            return None
        rate = System(part, np.zeros(len(part)), self.subjects).share(self.errors[inside], np.ones(len(part), bool))
        return {"group": group, "people": people, "rate": rate}

    def _p_value(self, tested: NDArray[np.intp], words: Words, strata: Numbers) -> float:
        """The share of permutations, the observed one among them, whose statistic is at least the observed one's."""
        members = (words[:, None] == np.unique(words)).astype(np.float64)
        errors, trials = (self._by_subject(tested, some) for some in (self.errors, np.ones(len(self.errors), bool)))
        observed = pearson(errors, trials, members)
        rng = np.random.default_rng(SEED)
        places = np.argsort(strata, kind="stable")
        as_far = 1
        for _ in range(PERMUTATIONS):
            drawn = np.empty_like(members)
            drawn[places] = members[np.lexsort((rng.random(len(members)), strata))]
            # the same errors and trials can add up to another last digit
            as_far += pearson(errors, trials, drawn) >= observed - 1e-9
        return as_far / (PERMUTATIONS + 1)

    def _by_subject(self, tested: NDArray[np.intp], some: Flags) -> Values:
        """How many trials by subject, shape (S,), or by pair of subjects, shape (S, S)."""
        place = np.full(self.subjects.count, -1)
        place[tested] = np.arange(len(tested))
        a, b = (place[side[some]] for side in (self.trials.subject_a, self.trials.subject_b))
        known = (a >= 0) & (b >= 0)
        if self.trials.same.all():
            return np.bincount(a[known], minlength=len(tested)).astype(np.float64)
        counts = np.bincount(a[known] * len(tested) + b[known], minlength=len(tested) ** 2)
        return counts.reshape(len(tested), len(tested)).astype(np.float64)


def pearson(errors: Values, trials: Values, members: Values) -> float:
    """Pearson's chi-square of errors by group.

    Args:
        errors, trials: counts by subject, shape (S,), or by pair of subjects, shape (S, S).
        members: 1 where a subject is of a group, shape (S, G).
    """
    wrong, all_ = _of_groups(errors, members), _of_groups(trials, members)
    overall = wrong.sum() / max(all_.sum(), 1)
    if not 0 < overall < 1:
        return 0.0
    some = all_ > 0
    expected = all_[some] * overall
    return float(np.sum((wrong[some] - expected) ** 2 / expected) / (1 - overall))


def _of_groups(counts: Values, members: Values) -> Values:
    """Counts inside each group, shape (G,)."""
    return counts @ members if counts.ndim == 1 else np.asarray(((counts @ members) * members).sum(0))


def _measured(systems: Systems, study: Study) -> dict[str, _Counted]:
    """By rate, its trials; the rates are those of the report at the version's own threshold."""
    used = np.union1d(systems.comparisons.a, systems.comparisons.b)
    who = study.listed.subject_of[used]
    pictures = Comparisons(used, used, who, who, np.zeros(len(used), np.int32))
    acquired = systems.take(systems.acquired)
    mated, others = (acquired.take(side) for side in (acquired.comparisons.same, ~acquired.comparisons.same))
    return {
        "fta": _Counted(pictures, ~study.embedded.acquired[used], systems.subjects),
        "fnmr": _Counted(mated.comparisons, mated.margin < 0, systems.subjects),
        "fmr": _Counted(others.comparisons, others.margin >= 0, systems.subjects),
    }


def _strata(study: Study) -> Numbers:
    """Which lists each subject is in, as one number, shape (S,)."""
    strata = np.zeros(len(study.listed.subjects), np.int64)
    for c in study.listed.lists:
        inside = np.zeros(len(strata), np.int64)
        inside[c.subject_a] = inside[c.subject_b] = 1
        strata = np.unique(2 * strata + inside, return_inverse=True)[1]
    return strata


def _room(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The two groups whose rates could differ most, by the upper bound of their difference."""
    both = [(high, low) for high in rows for low in rows if high is not low]
    highest, lowest = max(both, key=lambda pair: _up_to(pair[0]["rate"], pair[1]["rate"]))
    up_to = _up_to(highest["rate"], lowest["rate"])
    return {"highest": highest["group"], "lowest": lowest["group"], "up_to": up_to}


def _up_to(first: Rate, second: Rate) -> float:
    """The upper bound of first − second, from the two rates' intervals."""
    spread = math.hypot(first["high"] - first["value"], second["value"] - second["low"])
    return min(1.0, first["value"] - second["value"] + spread)
