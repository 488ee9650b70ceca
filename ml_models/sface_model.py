"""SFace (Zhong et al., 2021)."""

from .wrapper import FaceModel


class SFaceModel(FaceModel):
    """SFace; in the demo pack it stands in for AdaFace, and is never registered as that."""

    family = "sface"
