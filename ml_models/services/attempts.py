"""One attempt under one version: pictures → the faces in them → a decision. Live verifies and the shadow take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .. import conf
from ..engine.compare import by_member
from ..engine.errors import ImageError
from ..engine.lanes import Lanes
from ..engine.quality import QualityLimits
from ..engine.types import Decision, Extraction, Quality
from ..exceptions import InvalidRequest
from ..models import EnsembleConfig
from ..runtime import ServedVersion
from ..selectors import Template


@dataclass(slots=True)
class Attempt:
    """`frames` are the usable pictures; `dropped` names the others, filled even where the attempt fails. `config` and
    `template` are None until they are read."""

    frames: list[Extraction] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    config: EnsembleConfig | None = None
    template: Template | None = None

    @property
    def quality(self) -> Quality:
        """The best frame's."""
        return max((frame.quality for frame in self.frames), key=lambda quality: quality.score)

    def extract(self, version: ServedVersion, images: Sequence[bytes], lanes: Lanes, examine: bool = False) -> None:
        """Find the face in each picture.

        Args:
            lanes: what runs the pictures, and the members of each: see `admission.admitted`.
            examine: look for attacks, where the version has a network for it.

        Raises:
            ImageError: no picture could be used; the first one's reason.
        """
        first: ImageError | None = None
        works = [partial(tried, version, data, version.verify_limits, lanes, examine) for data in images]
        # `run` would give the idle core to what is to be done beside, and the detector needs it first
        for index, came in enumerate(lanes.run(works) if len(works) > 1 else [works[0]()]):
            if isinstance(came, Extraction):
                self.frames.append(came)
                continue
            first = first or came
            details = [reason.to_json() for reason in came.details]
            self.dropped.append({"frame": index, "code": came.code, "detail": str(came), "details": details})
        if not self.frames and first:
            raise first

    def decide(self, version: ServedVersion, template: Template) -> Decision:
        """Compare the frames with the subject's template.

        Raises:
            LowQuality: no member votes.
            InferenceFailed, MissingThreshold: never a decision.
        """
        return version.rule.judge(template.embeddings, by_member(self.frames), self.quality.score)


def steps_ms(frames: Sequence[Extraction]) -> dict[str, float]:
    """Milliseconds by step, of all frames together; not every frame takes every step."""
    steps = dict.fromkeys(step for frame in frames for step in frame.timings_ms)
    return {step: sum(frame.timings_ms.get(step, 0.0) for frame in frames) for step in steps}


def require_frames(images: Sequence[bytes]) -> None:
    """Raises: InvalidRequest: there are too few or too many pictures for one attempt."""
    if not 1 <= len(images) <= conf.get("MAX_FRAMES"):
        raise InvalidRequest(f"Send 1 to {conf.get('MAX_FRAMES')} images.")


def tried(
    version: ServedVersion, data: bytes, limits: QualityLimits, lanes: Lanes, examine: bool, stored: bool = False
) -> Extraction | ImageError:
    """The face in a picture, or why it cannot be used: as a value, so that one bad picture ends no other's work.
    Arguments as in `Pipeline.extract`."""
    try:
        return version.pipeline.extract(data, limits, stored, lanes, examine)
    except ImageError as error:
        return error
