from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from ml_models import runtime
from ml_models.engine.types import Extraction
from ml_models.models import EnsembleConfig
from tests.conftest import Portraits
from tests.support.pictures import encoded, opened


@pytest.mark.django_db
def test_eight_threads_get_the_landmarks_and_vectors_that_one_gets(
    served: EnsembleConfig, portraits: Portraits
) -> None:
    cv2.setNumThreads(1)
    pipeline = runtime.served(served.pk).pipeline
    pictures = [
        encoded(opened(data).resize((size, round(size * ratio))), quality=95)
        for data in (portraits.eileen_collins, portraits.grace_hopper)
        for size, ratio in ((300, 1.0), (480, 1.0), (640, 1.1), (1100, 0.95))
    ]
    alone = [pipeline.extract(picture) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(pipeline.extract, pictures * 5))

    def same(a: Extraction, b: Extraction) -> None:
        np.testing.assert_array_equal(a.chip.landmarks, b.chip.landmarks)
        for name in pipeline.members:
            np.testing.assert_array_equal(a.vectors[name], b.vectors[name])

    for index, extraction in enumerate(together):
        same(extraction, alone[index % len(pictures)])
