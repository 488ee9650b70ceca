"""Folders of pictures → aligned crops, through the engine's own decoder, detector and alignment."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from ml_models.engine.align import CROP_SIDE, align
from ml_models.engine.decode import decode
from ml_models.engine.detect import Detector
from ml_models.engine.errors import ImageError
from ml_models.engine.types import Image

from .errors import ConversionError
from .proof import Crops

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".heic"}
Progress = Callable[[int, int], None]


class Aligner:
    """Cuts faces out of files.

    Args:
        detector: names YuNet's ONNX file; asked only when a picture is not a 112×112 crop already.
    """

    def __init__(self, detector: Callable[[], Path]) -> None:
        self._path = detector

    @cached_property
    def _detector(self) -> Detector:
        return Detector(self._path())

    def crop(self, path: Path) -> Image | None:
        """The largest face, RGB uint8 (112, 112, 3); None when there is none, or the file is no readable picture."""
        try:
            image = decode(path.read_bytes())
            if image.shape == (CROP_SIDE, CROP_SIDE, 3):
                return image
            faces = self._detector.detect(image)
            return align(image, faces[0].landmarks) if faces else None
        except ImageError:
            return None

    def folder(self, folder: Path, progress: Progress | None = None) -> Crops:
        """Every face below `folder`: RGB uint8 (N, 112, 112, 3), in the order of the paths; N may be fewer than files.

        Raises:
            ConversionError: `faces_missing`.
        """
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        crops = []
        for done, path in enumerate(paths, start=1):
            crop = self.crop(path)
            if crop is not None:
                crops.append(crop)
            if progress:
                progress(done, len(paths))
        if not crops:
            raise ConversionError("faces_missing", f"No face was found in {len(paths)} pictures below {folder}.")
        return np.stack(crops)
