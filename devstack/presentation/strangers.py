"""Whole attempts with somebody else's frames: how many are accepted, by cells."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from devstack.dev_eval import rows
from devstack.presentation.measured import Measured, share

STEPS = (["front", "left", "right"], ["left", "front", "right", "left", "right"])
# the neutral front view, then the smiling one, which is also the first front frame
REFERENCES = ("neutral", "smiling")
NEAR_YEARS = 5

HEAD = """
## Somebody else

Whole attempts, by references and steps. Of one pair of people each is claimed once with frames of the other. Upper 95 %
bounds are exact (Clopper and Pearson), over attempts and, since the same two people are in many, over pairs of people.
A second reference is the very picture that is the claimed person's front frame: the worst case."""
OF_PEOPLE = """
The same attempts, by what London's table says of the two people. The cells are small: none accepted in a hundred pairs
bounds nothing under 3 %."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """`frames` says which ones are somebody else's."""

    people: frozenset[str]
    frames: str
    references: int
    steps: int
    accepted: bool


def strangers(m: Measured) -> Iterator[str]:
    tried = [*attempts(m)]
    yield HEAD
    for references in range(1, len(REFERENCES) + 1):
        for steps in map(len, STEPS):
            these = [one for one in tried if (one.references, one.steps) == (references, steps)]
            yield f"\n{references} reference{'s' * (references > 1)}, {steps} steps:\n"
            yield from table(
                "somebody else's", {name: [one for one in these if one.frames == name] for name in named(these)}
            )
    yield OF_PEOPLE + "\n"
    cells = {name: [one for one in tried if alike(one.people)] for name, alike in of_people(m).items()}
    yield from table("the two people", cells)


def attempts(m: Measured) -> Iterator[Attempt]:
    for steps in STEPS:
        frames = {person: m.attempt(person, steps) for person in m.people}
        # whoever is claimed, one person's frames agree, or not, with each other
        fails = {person: m.fails(theirs, steps) for person, theirs in frames.items()}
        for claimed in m.people:
            templates = [[m.of[claimed, "front", name].face for name in REFERENCES[: n + 1]] for n in range(2)]
            for other in m.people:
                if other == claimed:
                    continue
                mixes = {"all": frames[other]} | {
                    f"frame {place + 1}, {step}": [
                        *frames[claimed][:place],
                        frames[other][place],
                        *frames[claimed][place + 1 :],
                    ]
                    for place, step in enumerate(steps)
                }
                for name, mixed in mixes.items():
                    why = fails[other] if name == "all" else m.fails(mixed, steps)
                    for template in templates:
                        accepted = not why and m.decides(template, mixed, steps) == "match"
                        yield Attempt(frozenset((claimed, other)), name, len(template), len(steps), accepted)


def of_people(m: Measured) -> dict[str, Callable[[frozenset[str]], bool]]:
    """By the cell's name, whether two people are in it."""
    known = {row["face_id"]: row for row in rows("london/london_info.csv")}

    def same(column: str) -> Callable[[frozenset[str]], bool]:
        return lambda people: len({known[person][column] for person in people}) == 1

    def years(people: frozenset[str]) -> float:
        """Not a number where an age is not known: those two are in no cell of ages."""
        first, second = (float(known[person]["face_age"].replace("NA", "nan")) for person in people)
        return abs(first - second)

    gender, ethnicity = same("face_gender"), same("face_eth")
    return {
        "any": lambda people: True,
        "of one gender": gender,
        "of two genders": lambda people: not gender(people),
        "of one ethnicity": ethnicity,
        "of two ethnicities": lambda people: not ethnicity(people),
        f"at most {NEAR_YEARS} years apart": lambda people: years(people) <= NEAR_YEARS,
        f"more than {NEAR_YEARS} years apart": lambda people: years(people) > NEAR_YEARS,
        f"of one gender and ethnicity, at most {NEAR_YEARS} years apart": lambda people: (
            gender(people) and ethnicity(people) and years(people) <= NEAR_YEARS
        ),
    }


def named(tried: Sequence[Attempt]) -> list[str]:
    return [*dict.fromkeys(one.frames for one in tried)]


def table(what: str, cells: dict[str, list[Attempt]]) -> Iterator[str]:
    yield f"| {what} | attempts | accepted | pairs of people | with one accepted |\n" + "| --- " * 5 + "|"
    for name, tried in cells.items():
        pairs = {one.people for one in tried}
        let_in = {one.people for one in tried if one.accepted}
        counts = share(sum(one.accepted for one in tried), len(tried)), share(len(let_in), len(pairs))
        yield f"| {name} | {len(tried)} | {counts[0]} | {len(pairs)} | {counts[1]} |"
