"""Which way up a picture is, measured by looking at its face in four turns: docs/decisions/upright.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from . import exif
from .align import close_up, warp_roughly
from .detect import Detector, most_prominent, off_centre
from .quality import pose
from .types import DetectedFace, Image

# The look at the face alone: so many pixels, of which the crop's frame fills this part. Where nobody is seen in the
# first, a covered face perhaps, one from nearer is taken.
_NEARER = (160, 0.7)
_LOOKS_ALONE = ((128, 0.5), _NEARER)
_SEEN = 0.6
# quarters that `np.rot90` turns, as EXIF has them
_TURNED = (1, 8, 3, 6)
# under the detector's usual threshold, so that a poor face upright can be told from a poor face that is not
_MIN_SCORE = 0.02

# All of these are fitted on the development images: docs/decisions/upright.md.
# the upright turn's score is the highest by at least this
_MARGIN = 0.005
# sure is a face that is found so well in each look at it, which none that lies was (0.904 at most), and so much less
# well upside down, which one with two foreheads is not
_SURE_MEAN_SCORE = 0.91
_SURE_LEAD = 0.02
# one that scores highest as it stands, nearly level and found well, in the picture and alone, needs no second opinion
_PLAIN_ROLL_DEG = 25.0
_PLAIN_SCORE = 0.85
_PLAIN_SCORE_IN_PICTURE = 0.8
# of two turns that both look upright, the level one: the detector hardly minds 35°, and its landmarks follow
_SCORE_PER_DEG = 0.001
_MIN_LEAD = 0.01
_SAME_DEG = 20.0
# boxes whose middles are nearer to each other than this part of the longer side are about one face: a lying profile's
# are 0.66 apart at most
_SAME_FACE = 0.7
# a head may be tilted this far in a picture that is upright: as far as verification takes it
_MAX_TILT_DEG = 60.0


@dataclass(frozen=True, slots=True)
class View:
    """A picture turned by quarters, and who is in it.

    `image` is RGB, uint8, (H, W, 3); `faces` are those found in it, in its pixels, the most prominent one first and
    with settled landmarks, and those that were found only in the picture as it came; `upright` says whether the first
    one is certainly upright; `quarters` counts the turns that `np.rot90` made of the picture as it came.
    """

    image: Image
    faces: tuple[DetectedFace, ...]
    upright: bool
    quarters: int = 0


class _Found(NamedTuple):
    """A picture and those found in it, as `View` has them; `mean_score` as `Settled` has it."""

    image: Image
    faces: tuple[DetectedFace, ...] = ()
    mean_score: float = 0.0
    roll_deg: float = 0.0


class _Look(NamedTuple):
    """What was seen of a picture in one turn; `scores` of the face alone, in turns of 0, 90, 180 and 270°."""

    view: View
    scores: tuple[float, ...]
    roll_deg: float

    @property
    def merit(self) -> float:
        return self.scores[0] - _SCORE_PER_DEG * abs(self.roll_deg)


def stand(detector: Detector, image: Image, faces: Sequence[DetectedFace] | None = None) -> View:
    """Turn a picture so that its most prominent face is upright, whatever its camera said of it.

    YuNet finds a face that lies or hangs, and gives it landmarks as if it stood, but is not as sure of it. So a face of
    which it is sure, and less so upside down, stands. Any other is cut out by its landmarks and looked at alone, in
    four turns: only an upright one scores highest as it is. Where it does not, or nobody was found, the whole picture
    is looked at in all four turns.

    Args:
        image: RGB, uint8, (H, W, 3).
        faces: what the detector finds in it, where that is known.

    Returns: the picture as it was, unless another turn is right. Where no turn is certain, `upright` is False.

    Raises:
        NoFaceFound: degenerate landmarks.
        InferenceFailed: see `Detector.detect`.
    """
    found = _found(detector, image, faces)
    if _sure(detector, found):
        return View(found.image, found.faces, True)
    first = _look(detector, found, 0)
    if _plain(first):
        return first.view
    turned = ((quarters, _found(detector, exif.turned(image, _TURNED[quarters]))) for quarters in (1, 2, 3))
    looks = [first, *(_look(detector, found, quarters) for quarters, found in turned)]
    certain = [quarters for quarters, look in enumerate(looks) if look.view.upright]
    if not certain:
        return next((look.view for look in looks if look.view.faces), first.view)
    best = max(certain, key=lambda quarters: looks[quarters].merit)
    angle = _in_picture(looks, best)
    seen = [quarters for quarters, look in enumerate(looks) if look.view.faces]
    agreeing = [quarters for quarters in seen if _apart(_in_picture(looks, quarters), angle) < _SAME_DEG]
    rivals = [looks[quarters].merit for quarters in certain if quarters not in agreeing]
    if rivals and max(rivals) > looks[best].merit - _MIN_LEAD:
        return replace(looks[best].view, upright=False)
    # as it came, or as in the best turn, or as in one that says the same: where the head is not tilted too far
    turns = [turn for turn in (0, best, *agreeing) if turn in agreeing and abs(looks[turn].roll_deg) <= _MAX_TILT_DEG]
    view = looks[turns[0] if turns else best].view
    faces = (*view.faces, *_unseen(first.view, view))
    # what is certain is of the first one
    return replace(view, faces=faces, upright=most_prominent(faces, view.image.shape) is faces[0])


def _unseen(as_it_came: View, turned: View) -> list[DetectedFace]:
    """Faces of the picture as it came, in the turned one's pixels, which nobody saw there: the person's, where a print
    that is larger hangs beside."""
    moved = [_turned(face, as_it_came.image.shape[1::-1], turned.quarters) for face in as_it_came.faces]
    return [face for face in moved if not any(_same(face, seen) for seen in turned.faces)]


def _turned(face: DetectedFace, size: tuple[int, ...], quarters: int) -> DetectedFace:
    """Where `np.rot90` brings a face of a picture of this size, (width, height)."""
    (width, height), (x, y, across, down), landmarks = size, face.box, face.landmarks
    for _ in range(quarters):
        x, y, across, down = y, width - x - across, down, across
        landmarks = np.column_stack([landmarks[:, 1], width - landmarks[:, 0]])
        width, height = height, width
    return replace(face, box=(x, y, across, down), landmarks=landmarks)


def _same(a: DetectedFace, b: DetectedFace) -> bool:
    """Boxes of one face in several turns differ in their edges, and less in where their middle is."""
    return math.dist(a.middle, b.middle) < _SAME_FACE * max(*a.box[2:], *b.box[2:])


def _found(detector: Detector, image: Image, faces: Sequence[DetectedFace] | None = None) -> _Found:
    image = np.ascontiguousarray(image)
    if faces is None:
        faces = detector.detect(image)
    if not faces:
        return _Found(image)
    first = most_prominent(faces, image.shape)
    face, mean_score = detector.settle(image, first)
    others = (other for other in faces if other is not first)
    return _Found(image, (face, *others), mean_score, pose(face.landmarks)[2])


def _sure(detector: Detector, found: _Found) -> bool:
    if found.mean_score < _SURE_MEAN_SCORE or abs(found.roll_deg) > _PLAIN_ROLL_DEG:
        return False
    (hanging,) = _alone(found.image, found.faces[0], *_NEARER, turns=(2,))
    score = _score(detector.detect(hanging, _MIN_SCORE), _NEARER[0])
    return score <= found.mean_score - _SURE_LEAD


def _look(detector: Detector, found: _Found, quarters: int) -> _Look:
    if not found.faces:
        return _Look(View(found.image, (), False, quarters), (), 0.0)
    scores = _scores(detector, found.image, found.faces[0])
    view = View(found.image, found.faces, scores[0] >= max(scores[1:]) + _MARGIN, quarters)
    return _Look(view, scores, found.roll_deg)


def _scores(detector: Detector, image: Image, face: DetectedFace) -> tuple[float, ...]:
    scores: tuple[float, ...] = ()
    for side, share in _LOOKS_ALONE:
        turns = _alone(image, face, side, share, turns=range(4))
        scores = tuple(_score(faces, side) for faces in detector.detect_each(turns, _MIN_SCORE))
        if max(scores) >= _SEEN:
            break
    return scores


def _alone(image: Image, face: DetectedFace, side: int, share: float, turns: Iterable[int]) -> list[Image]:
    """The face cut out by its landmarks, in each of these turns, by quarters."""
    alone = warp_roughly(image, close_up(face.landmarks, side, share), side)
    return [exif.turned(alone, _TURNED[quarters]) for quarters in turns]


def _score(faces: Sequence[DetectedFace], side: int) -> float:
    """The best score of a face in the middle of a square picture."""
    return max((f.score for f in faces if off_centre(f, side) < side / 4), default=0.0)


def _plain(look: _Look) -> bool:
    return (
        look.view.upright
        and look.view.faces[0].score >= _PLAIN_SCORE_IN_PICTURE
        and look.scores[0] >= _PLAIN_SCORE
        and abs(look.roll_deg) <= _PLAIN_ROLL_DEG
    )


def _in_picture(looks: Sequence[_Look], quarters: int) -> float:
    """Which way the face points in the picture as it came, in degrees clockwise."""
    return looks[quarters].roll_deg + 90.0 * quarters


def _apart(a: float, b: float) -> float:
    return abs((a - b + 180.0) % 360.0 - 180.0)
