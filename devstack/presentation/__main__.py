"""Writes docs/presentation.md; see the package."""

import argparse
from collections.abc import Iterator

from devstack.presentation.attacks import attacks
from devstack.presentation.continuity import continuity
from devstack.presentation.measured import VERSION, Measured
from devstack.presentation.passive import passive
from devstack.presentation.people import genuine
from devstack.presentation.sent_again import sent_again
from devstack.presentation.strangers import strangers
from devstack.presentation.turns import scores, thresholds, turns
from devstack.state import ROOT, say

PAGE = ROOT / "docs" / "presentation.md"
HEAD = """# Is somebody there? Measured

Written by `python -m devstack exec python -m devstack.presentation`; do not edit. Version {version}, on the London set
(40 adults, a studio's cameras, each person neutral and smiling from the front and from three quarters) and on CFP
(folds 1–2, every third person, press photographs; profiles whose far eye is hidden left out). What is asked and what
is refused: [security](security.md#is-somebody-there).

**Read this first.** Nobody here stood before a phone, nobody is a child, and no attack was photographed: prints and
screens are drawn from the same pictures, which is weak evidence. Upper bounds are 95 %, for trials as if they were
independent; the people are 40. What neither part stops, several suitable photos, a photo turned by software, masks, is
not counted here: it passes.

`turn` is how far the nose lies to one side along the lines of the eyes and of the mouth, in eye distances; positive to
the person's own left in a picture that is not mirrored."""
TAIL = """
## Not measured

Children; phones; real prints, screens and masks; people who are told to turn and do it badly; a phone that is moved, or
whose exposure and white balance change, between frames; the steps `up` and `nearer`, which are not asked
([why](decisions/continuity.md))."""


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    measured = Measured()
    PAGE.write_text("\n".join(page(measured)) + "\n")
    say(f"Wrote {PAGE.relative_to(ROOT)}")
    return 0


def page(m: Measured) -> Iterator[str]:
    yield HEAD.format(version=VERSION)
    yield from turns(m)
    london, cfp = scores(m, m.london), scores(m, m.cfp)
    yield from thresholds(m, {"London": london, "CFP": cfp})
    yield from genuine(m, cfp[1])
    yield from strangers(m)
    yield from attacks(m)
    yield from sent_again(m)
    yield from continuity(m)
    yield from passive(m)
    yield TAIL


if __name__ == "__main__":
    raise SystemExit(main())
