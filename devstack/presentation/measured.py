"""The version, and what the engine makes of the development sets' pictures of turned heads."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from devstack.dev_eval import DATA, in_threads, load, pictures

VERSION = 6
# the set names the side from the camera: its left view shows a head turned to the person's own right
LONDON = {"": "front", "_right_3quarter": "left", "_left_3quarter": "right"}
# of CFP, every third person
EACH_CFP = 3


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture's face: whose, from where, with which expression."""

    subject: str
    step: str
    expression: str
    path: Path
    face: Any


class Measured:
    """The version, and what the engine makes of the sets' pictures."""

    def __init__(self) -> None:
        config = load(VERSION)
        cv2.setNumThreads(1)
        from ml_models.studies import loading
        from ml_models.versions import numbers

        turned = numbers.turned(config)
        assert turned  # noqa: S101 - of a version with challenges
        self.pipeline, self.rule, self.turned = loading.pipeline(config), numbers.rule(config), turned
        self.passive = numbers.passive(config)
        london = [*pictures("london"), *sorted((DATA / "london" / "turns").glob("*_3quarter.jpg"))]
        self.london = [one for one in in_threads(self._shown, london) if one]
        self.people = sorted({one.subject for one in self.london})
        self.of = {(one.subject, one.step, one.expression): one for one in self.london}
        cfp = [path for path in pictures("cfp") if int(path.parent.parent.name) % EACH_CFP == 0]
        self.cfp = [one for one in in_threads(self._of_cfp, cfp) if one]

    def extract(self, data: bytes) -> Any:
        """A face by a challenge's limits, None where it is refused."""
        from ml_models.engine.errors import ImageError
        from ml_models.engine.quality import VERIFY_LIMITS
        from ml_models.services.liveness import challenge_limits

        try:
            return self.pipeline.extract(data, challenge_limits(VERIFY_LIMITS))
        except ImageError:
            return None

    def scene(self, one: Shown) -> Any:
        """A person's picture with its face, as attacks are drawn from it."""
        from ml_models.engine.upright import stand
        from ml_models.evaluation.pictures.scene import Scene

        view = stand(self.pipeline.detector, picture_of(one))
        return Scene.of(view.image, view.faces[0].landmarks)

    def turn_of(self, image: Any) -> float | None:
        """How far the face in a picture, RGB, is turned; None where a challenge would not take it for a face."""
        from ml_models.engine.turns import turn
        from ml_models.engine.upright import stand

        view = stand(self.pipeline.detector, image)
        found = view.faces and view.upright and view.faces[0].score >= 0.8
        return turn(view.faces[0].landmarks) if found else None

    def _shown(self, path: Path) -> Shown | None:
        subject, expression, view = re.fullmatch(r"(\d+)_(neutral|smiling)(.*)", path.stem).groups()  # type: ignore[union-attr]
        face = self.extract(path.read_bytes())
        return face and Shown(subject, LONDON[view], expression, path, face)

    def _of_cfp(self, path: Path) -> Shown | None:
        from ml_models.engine.turns import turn

        face = self.extract(path.read_bytes())
        if face is None:
            return None
        front = path.parent.name == "frontal"
        # profiles whose far eye is hidden are no step of a challenge
        if not front and not 0.45 < abs(turn(face.chip.landmarks)) <= 1.8:
            return None
        return Shown(path.parent.parent.name, "front" if front else "turned", "", path, face)

    def score(self, first: Any, second: Any) -> float:
        from ml_models.engine.compare import by_member, compare

        quality = min(first.quality.score, second.quality.score)
        return float(self.rule.decide(compare(by_member([first]), by_member([second])), quality).score)

    def passes(self, references: Sequence[Any], frames: Sequence[Any], steps: Sequence[Any], turned: Any = None) -> str:
        """`match`, or why not: what verify does, in its order."""
        return self.fails(frames, steps, turned) or self.decides(references, frames, steps, turned)

    def fails(self, frames: Sequence[Any], steps: Sequence[Any], turned: Any = None) -> str:
        """Why the frames do not pass, whoever is claimed; empty where they do."""
        from ml_models.engine.challenge import failures

        found = failures(frames, steps, self.rule, turned or self.turned)
        return found[0].code if found else ""

    def decides(
        self, references: Sequence[Any], frames: Sequence[Any], steps: Sequence[Any], turned: Any = None
    ) -> str:
        """`match`, or why frames that agree with one another are not the claimed subject's."""
        from ml_models.engine.challenge import unlike_template
        from ml_models.engine.compare import by_member

        fronts = [frame for frame, step in zip(frames, steps, strict=True) if step == "front"]
        template, quality = by_member(references), max(frame.quality.score for frame in fronts)
        decision = self.rule.judge(template, by_member(fronts), quality).decision
        if decision != "match":
            return str(decision)
        found = unlike_template(frames, steps, template, self.rule, turned or self.turned)
        return found[0].code if found else "match"

    def attempt(self, subject: str, steps: Sequence[str], expression: str = "smiling") -> list[Any]:
        """Frames of one person: the second of a step has the other expression."""
        other = {"smiling": "neutral", "neutral": "smiling"}
        expressions, frames = dict.fromkeys(steps, expression), []
        for step in steps:
            frames.append(self.of[subject, step, expressions[step]].face)
            expressions[step] = other[expressions[step]]
        return frames


def picture_of(one: Shown) -> Any:
    """Its pixels: RGB, shape (H, W, 3)."""
    return cv2.cvtColor(np.asarray(cv2.imread(str(one.path))), cv2.COLOR_BGR2RGB).astype(np.uint8)


def share(count: int, of: int) -> str:
    """A count, and the upper 95 % bound of its rate (Clopper and Pearson, one-sided at 0)."""
    from ml_models.evaluation.rates.intervals import clopper_pearson

    bound = 1 - 0.05 ** (1 / of) if count == 0 else clopper_pearson(count, of)[1]
    return f"{count} (at most {100 * bound:.2f} %)"
