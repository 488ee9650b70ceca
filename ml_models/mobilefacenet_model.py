"""MobileFaceNet (Chen et al., 2018)."""

from .wrapper import FaceModel


class MobileFaceNetModel(FaceModel):
    """The small network that the mobile app runs too."""

    family = "mobilefacenet"
