"""Whom a search of a large roster would leave out, where only those nearest by one member are read whole.

    python -m devstack exec python -m devstack.shortlist --cache DIR

Every comparison on the development sets that could name somebody of a large roster, clean and under every stress, on
the probe, the reference and both: at which place the reference stands among all pictures of the list that show others,
by the cosine of the member whose vote counts most. --cache as in devstack.coverings, whose vectors serve here as well.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from devstack.accuracy import STRESS_IMAGES
from devstack.dev_eval import DATA, LISTS, Watcher, cache, load
from devstack.prepare import FIRST_ACTIVE
from devstack.state import say


def main() -> int:
    with cache(__doc__ or "") as folder:
        for line in table(load(FIRST_ACTIVE), folder):
            print(line, flush=True)
    return 0


def table(config: Any, folder: Path) -> Iterator[str]:
    from ml_models.evaluation.pictures import stress
    from ml_models.services.identification import LARGE_ROSTER, SHORTLIST
    from ml_models.studies.pictures import Sources, prepare
    from ml_models.versions import numbers

    rule, offset = numbers.rule(config), numbers.identification(config).at(LARGE_ROSTER + 1)
    listed = [(DATA / pairs, DATA / images) for pairs, images, _ in LISTS.values()]
    sources = Sources(listed, stresses=list(stress.STRESSES), stress_images=STRESS_IMAGES, cache=folder, threads=2)
    clean, stressed = prepare(config, sources, Watcher())
    place = f"in the first {SHORTLIST} | farthest"
    yield f"| pictures | own: named | the nearest | {place} | others: to review | {place} |"
    yield "| --- " * 8 + "|"
    for name, study in {"clean": clean, **stressed}.items():
        own: list[int] = []
        other: list[int] = []
        for item in study.labelled(study.all_pairs):
            for places, same, least in ((own, True, offset.match), (other, False, offset.review)):
                places += _places(rule, item.only_acquired(), same, least)
        say(name)
        found = [len(own), *(sum(place <= most for place in own) for most in (1, SHORTLIST)), max(own, default=0)]
        found += [len(other), sum(place <= SHORTLIST for place in other), max(other, default=0)]
        yield f"| {name.replace('_', ' ')} | {' | '.join(f'{count:,}' for count in found)} |"


def _places(rule: Any, item: Any, same: bool, least: float) -> list[int]:
    """The places, the first being 1, of whoever reaches the threshold, among the list's pictures of other people."""
    from ml_models.evaluation import scoring

    c = item.comparisons
    reaching = np.flatnonzero((c.same == same) & (scoring.score(rule, item).margin >= least))
    foremost = rule.foremost.name
    references, probes = (side[foremost][:, 0] for side in (item.references, item.probes))
    candidates, first = np.unique(c.a, return_index=True)
    people = c.subject_a[first]
    places = []
    for one in reaching:
        cosines = references[candidates] @ probes[c.b[one]]
        own = references[c.a[one]] @ probes[c.b[one]]
        others = (people != c.subject_a[one]) & (people != c.subject_b[one] if not same else True)
        places.append(1 + int((cosines[others] > own).sum()))
    return places


if __name__ == "__main__":
    raise SystemExit(main())
