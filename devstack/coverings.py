"""docs/coverings.md, measured: faces covered on either side and on both, by coverings that nothing was fitted under.

    python -m devstack exec python -m devstack.coverings --cache DIR

Numbers are fitted as the shipped version's are, on one half of the development sets' people under every stress, and
measured on the other half, with coverings of other shapes and other draws. Two compared pictures show the very same
covering. --cache keeps the vectors, which are biometric, outside the tree: delete it after.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from devstack.accuracy import STRESS_IMAGES, percent
from devstack.dev_eval import DATA, LISTS, Watcher, cache, load
from devstack.prepare import FIRST_ACTIVE
from devstack.state import ROOT, say

PAGE = ROOT / "docs" / "coverings.md"
MEASURED_ON = ("LFW", "CFP-FF")
PICTURES, SEED = 500, 777
# glasses through which the eyes are seen
CLEAR = (
    "octagonal_spectacles",
    "safety_glasses",
    "wire_rounds",
    "double_bridge_squares",
    "half_rims",
    "coloured_panes",
)


def main() -> int:
    with cache(__doc__ or "") as folder:
        page = "\n".join(pages(load(FIRST_ACTIVE), folder))
    PAGE.write_text(page + "\n")
    say(f"Wrote {PAGE.relative_to(ROOT)}")
    return 0


def pages(config: Any, folder: Path) -> Iterator[str]:
    from ml_models.evaluation.calibration import cross_validation, fitting
    from ml_models.evaluation.pictures import stress
    from ml_models.evaluation.study import acquired, cells
    from ml_models.studies.pictures import Sources, prepare
    from ml_models.versions import numbers

    watcher = Watcher()

    def of(names: Sequence[str], stresses: Sequence[str], **options: Any) -> Any:
        listed = [(DATA / pairs, DATA / images) for pairs, images, _ in (LISTS[name] for name in names)]
        return prepare(config, Sources(listed, stresses=stresses, cache=folder, threads=2, **options), watcher)

    def half(study: Any, part: int) -> Any:
        return study.of_subjects(cross_validation.parts(study.listed.subjects, 2) == part)

    study, stressed = of(list(LISTS), list(stress.STRESSES), stress_images=STRESS_IMAGES)
    fit_on = {name: half(other, 0) for name, other in stressed.items()}
    say("fitting")
    attempts = [attempt.labelled for _, attempt in cells(half(study, 0), fit_on)]
    rule = fitting.fit(
        numbers.members(config), acquired([half(study, 0), *fit_on.values()]), config.target_fmr, attempts
    )
    clean, covered = of(MEASURED_ON, list(stress.HELD_OUT), stress_images=PICTURES, seed=SEED)
    measured = Measured(rule, numbers.quality_limits(config, "enroll"))
    columns, line = (f"| {' | '.join(cells)} |" for cells in (COLUMNS, ["---"] * len(COLUMNS)))
    sets = " and ".join(MEASURED_ON)
    yield HEAD.format(day=datetime.now(UTC).date(), version=FIRST_ACTIVE, sets=sets, columns=columns, line=line)
    yield measured.row("none", [half(clean, 1)] * 3)
    yield measured.wearers("real glasses", half(clean, 1))
    for name in stress.HELD_OUT:
        sides = [half(covered[name + suffix], 1) for suffix in ("", ", references", ", both sides")]
        yield measured.row(name, sides)
    yield measured.together("all clear glasses", CLEAR)
    yield TAIL


class Measured:
    """A rule, and the limits that a reference has to keep."""

    def __init__(self, rule: Any, limits: Any) -> None:
        self._rule, self._limits = rule, limits
        self._bare = replace(rule, conditions=tuple(c for c in rule.conditions if c.sides != "shared"))
        self._rows: dict[str, list[tuple[Any, Any]]] = {}

    def row(self, name: str, studies: Sequence[Any]) -> str:
        self._rows[name] = [self._with_and_without(study) for study in studies]
        return _line(name, *self._at_enrolment(studies[2]), self._rows[name])

    def wearers(self, name: str, study: Any) -> str:
        """Those of the pictures as they are in which the network sees glasses, before either face and before both."""
        seen = study.embedded.quality["glasses"] > 0.5
        sides = (lambda c: seen[c.b] & ~seen[c.a], lambda c: seen[c.a] & ~seen[c.b], lambda c: seen[c.a] & seen[c.b])
        systems = [self._with_and_without(study, side) for side in sides]
        return _line(name, *self._at_enrolment(study, seen), systems)

    def together(self, name: str, rows: Sequence[str]) -> str:
        """Some rows in one: a picture under another covering is another picture."""
        sides = zip(*(self._rows[row] for row in rows), strict=True)
        return _line(name, "", "", [tuple(map(_joined, zip(*side, strict=True))) for side in sides])

    def _with_and_without(self, study: Any, which: Callable[[Any], Any] | None = None) -> tuple[Any, Any]:
        return self._systems(self._rule, study, which), self._systems(self._bare, study, which)

    def _systems(self, rule: Any, study: Any, which: Callable[[Any], Any] | None) -> Any:
        """The comparisons whose reference would be enrolled, or `which` of them."""
        from ml_models.evaluation.rates.metrics import Subjects
        from ml_models.evaluation.rates.systems import Systems
        from ml_models.evaluation.study import acquired, score_with

        labelled = acquired([study])
        if which:
            labelled = [item.take(which(item.comparisons)) for item in labelled]
        if study.side != "probes" or which:
            refused = self._refused(study.embedded)
            labelled = [item.take(~refused[item.comparisons.a]) for item in labelled]
        subjects = Subjects(len(study.listed.subjects))
        return Systems.together(Systems.each(score_with(rule, labelled), subjects))

    def _at_enrolment(self, study: Any, seen: Any = True) -> tuple[str, str]:
        """Of the pictures that can become references: the share refused, and of the others the share warned of."""
        used = np.unique(np.concatenate([np.union1d(c.a, c.b) for c in study.all_pairs.lists]))
        used = used[(study.embedded.acquired & seen)[used]]
        refused = self._refused(study.embedded)[used]
        warning = self._classified(study.embedded, lambda condition: bool(condition.warning))[used[~refused]]
        return f"{100 * refused.mean():.1f} %", f"{100 * warning.mean():.1f} %"

    def _classified(self, embedded: Any, counts: Callable[[Any], bool]) -> Any:
        """Which pictures are classified as in a condition that counts."""
        from ml_models.engine.conditions import CONDITIONS

        inside = np.zeros(len(embedded.codes), bool)
        for condition in self._rule.conditions:
            if counts(CONDITIONS[condition.name]):
                parts = (
                    embedded.vectors[name] @ np.array(direction) for name, direction in condition.directions.items()
                )
                inside |= condition.offset + sum(parts) > 0
        return inside

    def _refused(self, embedded: Any) -> Any:
        """Which pictures are no references: for their quality, or for a condition where nothing looks at the eyes."""
        from ml_models.engine.quality import reasons
        from ml_models.engine.types import Quality

        rows = [
            {name: float(values[i]) for name, values in embedded.quality.items()} for i in range(len(embedded.codes))
        ]
        poor = [bool(reasons(Quality(reasons=(), details=(), **row), self._limits)) for row in rows]
        unseen = np.isnan(embedded.quality["eyes_visible"])
        return np.array(poor) | unseen & self._classified(embedded, lambda condition: condition.refused)


def _joined(parts: Sequence[Any]) -> Any:
    from ml_models.evaluation.rates.systems import Systems

    several = 1 + max(int(max(part.comparisons.a.max(), part.comparisons.b.max())) for part in parts)
    apart = [
        replace(part, comparisons=replace(c, a=c.a + nth * several, b=c.b + nth * several))
        for nth, part in enumerate(parts)
        for c in [part.comparisons]
    ]
    return Systems.together(apart)


def _line(name: str, refused: str, warned: str, sides: Sequence[tuple[Any, Any]]) -> str:
    """A row of the table, from what the rule and the one without glasses give on each side."""
    both = sides[2][0].comparisons
    people = len(np.union1d(both.subject_a, both.subject_b))
    counts = f"{people} | {int(both.same.sum())}, {int((~both.same).sum())}"
    fmrs = [percent(one.fused.fmr(0.0), 3) for one, _ in sides]
    fnmrs = [percent(one.fused.fnmr(0.0), 1) if one.comparisons.same.any() else "–" for one, _ in sides]
    lost = [_lost(one, bare) for one, bare in sides]
    return f"| {name.replace('_', ' ')} | {refused} | {warned} | {counts} | {' | '.join((*fmrs, *fnmrs, *lost))} |"


def _lost(one: Any, bare: Any) -> str:
    same = one.comparisons.same
    if not same.any():
        return "–"
    return f"{100 * ((bare.margin[same] >= 0).mean() - (one.margin[same] >= 0).mean()):.2f} of {int(same.sum())}"


HEAD = """# Covered faces, on one side and on both

Written by `python -m devstack exec python -m devstack.coverings` on {day}; do not edit. Version {version}'s members,
with numbers fitted on one half of the people of the four development sets under every stress, and measured on the other
half of {sets}, under coverings that no version was fitted under (`HELD_OUT` in
`ml_models/evaluation/pictures/stress.py`) and with other draws of size, colour and darkness. The networks for eyes, for
glasses and for pairs of them were trained on all of the people, under none of these coverings. What they give was
looked at while the rule for glasses was chosen. Two faces that are both covered wear **the very same** glasses or
cloth, which is the hardest that two strangers can wear. Intervals are 95 %, from a bootstrap over subjects; the target
is 0.1 %.

`refused`: of the covered pictures as references; `warned`: of the others. References that are refused are in no
comparison. `mated, non-mated`: with both sides covered. `probe`, `reference`, `both`: which side is covered. `lost`:
points of TAR that the rule for glasses costs, beside the same numbers without it, of so many mated comparisons.
`real glasses`: nothing is drawn; the comparisons of `none` in which the network sees glasses on that side alone, or on
both.

{columns}
{line}"""
COLUMNS = (
    *("covering", "refused", "warned", "people", "mated, non-mated"),
    *("FMR, probe", "reference", "both", "FNMR, probe", "…", "both", "lost, probe", "…", "both"),
)
TAIL = """
Of `none` the three columns are the same comparisons. A refused reference is refused for anything that enrolment asks,
pose and sharpness included. The coverings are drawn flat on the detector's landmarks of the clean picture."""

if __name__ == "__main__":
    sys.exit(main())
