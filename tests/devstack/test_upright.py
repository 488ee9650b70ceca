"""The measurement of turned pictures: what it remembers of a look changes no answer."""

from typing import Any
from unittest.mock import patch

import numpy as np

from devstack.upright import as_it_is, remembering, same
from ml_models.engine import upright
from tests.engine.test_upright import Compass, bright_above


def test_what_is_remembered_of_a_look_changes_no_answer() -> None:
    for scores in ((0.95, 0.5, 0.5, 0.5), (0.7, 0.6, 0.65, 0.62), (0.5, 0.9, 0.5, 0.5)):
        compass = Compass(scores)
        pictures = [np.rot90(bright_above(), quarters) for quarters in range(4)]
        views = [upright.stand(compass, picture) for picture in pictures]
        steps: dict[str, Any] = {name: remembering(getattr(upright, name)) for name in ("_found", "_look")}
        with patch.multiple("ml_models.engine.upright", **steps):
            assert all(
                same(upright.stand(compass, picture), view) for picture, view in zip(pictures, views, strict=True)
            )


def test_as_it_is_nothing_is_turned() -> None:
    view = as_it_is(Compass((0.9, 0.9, 0.9, 0.9)), np.rot90(bright_above()))
    assert (len(view.faces), view.quarters) == (1, 0)
