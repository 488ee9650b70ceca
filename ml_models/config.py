"""Which families of networks this build can run.

A version with a member of a family that is not here, or not enabled, is refused when it is validated and when it is
loaded. A host changes entries with `ML_MODELS["FAMILIES"] = {"sface": {"enabled": False}}`.
"""

from typing import TypedDict

from . import conf

FamilyConfig = TypedDict(
    "FamilyConfig",
    {
        "enabled": bool,
        # dotted path of the wrapper that runs the family's files
        "class": str,
        # the default for members of new drafts: under this quality score, in [0, 1], the member abstains
        "quality_threshold": float,
    },
)

FACE_RECOGNITION_MODELS: dict[str, FamilyConfig] = {
    "mobilefacenet": {
        "enabled": True,
        "class": "ml_models.mobilefacenet_model.MobileFaceNetModel",
        "quality_threshold": 0.0,
    },
    "arcface": {"enabled": True, "class": "ml_models.arcface_model.ArcFaceModel", "quality_threshold": 0.0},
    "adaface": {"enabled": True, "class": "ml_models.adaface_model.AdaFaceModel", "quality_threshold": 0.0},
    "sface": {"enabled": True, "class": "ml_models.sface_model.SFaceModel", "quality_threshold": 0.0},
    # embeds glasses, not faces
    "eyewear": {"enabled": True, "class": "ml_models.eyewear_model.EyewearModel", "quality_threshold": 0.0},
}


def family(name: str) -> FamilyConfig | None:
    """A family's entry with the host's changes, or None when this build cannot run it."""
    entry = FACE_RECOGNITION_MODELS.get(name)
    if entry is None:
        return None
    merged: FamilyConfig = {**entry, **conf.get("FAMILIES").get(name, {})}
    return merged if merged["enabled"] else None
