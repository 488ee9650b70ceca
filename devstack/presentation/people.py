"""The people themselves: do they pass?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations

from devstack.presentation.measured import Measured
from devstack.presentation.turns import fitted, scores


def genuine(m: Measured, cfp: Sequence[float]) -> Iterator[str]:
    halves = m.people[::2], m.people[1::2]
    passed: dict[str, list[bool]] = {"three": [], "five": []}
    for tested, others in (halves, halves[::-1]):
        threshold = fitted(scores(m, [one for one in m.london if one.subject in others])[1], cfp)
        turned = replace(m.turned, threshold=threshold)
        for subject in tested:
            references = [m.of[subject, "front", "neutral"].face]
            three = [
                m.passes(references, m.attempt(subject, steps), steps, turned) == "match"
                for steps in permutations(("front", "left", "right"))
            ]
            passed["three"].append(all(three))
            five = ["left", "front", "right", "left", "right"]
            passed["five"].append(m.passes(references, m.attempt(subject, five), five, turned) == "match")
    yield "\n## The people themselves\n\nTwo-fold by subject: the threshold is fitted on the other half, and on CFP.\n"
    for name, words in (("three", "three steps, in each of the six orders"), ("five", "five steps")):
        yield f"- {words}: {sum(passed[name])} of {len(passed[name])} people pass."
