"""ArcFace (Deng et al., 2019)."""

from .wrapper import FaceModel


class ArcFaceModel(FaceModel):
    """Any network of the ArcFace family; the guide's version runs it as INT8."""

    family = "arcface"
