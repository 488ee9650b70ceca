"""Whether a new reference is a photograph that is there already: docs/decisions/same-picture.md."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..engine.types import Embeddings
from ..exceptions import DuplicateReference
from ..selectors import Template

# Means of the members' cosines, measured on the development images. The same pixels give 1; another frame of a burst
# may come as near as the same frame saved anew, so nothing less is refused.
_SAME_PICTURE = 0.9999
_ADDS_NOTHING = 0.95

WARNING = "This picture is nearly the same as an earlier reference and adds nothing new. One from another day does."


def refuse(template: Template, new: Mapping[str, Embeddings]) -> bool:
    """Refuse a picture whose pixels are among the references already, in whatever file.

    Args:
        template: the subject's, under the version that embedded the picture.
        new: the picture's embedding, by member.

    Returns: whether it is so near to a reference that it adds nothing.

    Raises:
        DuplicateReference: names the reference that is there.
    """
    cosines = np.mean([template.embeddings[name].vectors @ one.vectors[0] for name, one in new.items()], axis=0)
    nearest = int(cosines.argmax())
    if cosines[nearest] >= _SAME_PICTURE:
        raise DuplicateReference(template.references[nearest])
    return bool(cosines[nearest] >= _ADDS_NOTHING)
