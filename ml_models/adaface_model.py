"""AdaFace (Kim, Jain, Liu, 2022): the member for poor light, angles and occlusion."""

from .engine.types import Image
from .wrapper import FaceModel


class AdaFaceModel(FaceModel):
    """AdaFace: 512 numbers. The feature's length before normalisation is its own measure of image quality."""

    family = "adaface"

    def feature_norm(self, face_image: Image) -> float:
        """How sure the network is of what it sees: the feature's length before normalisation, above 0.

        Args:
            face_image: RGB, uint8, (112, 112, 3), aligned to the ArcFace template.
        """
        return float(self.embedder.embed(face_image[None]).norms[0])
