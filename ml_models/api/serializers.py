"""What comes in and goes out. Pictures stay bytes here; only the engine decodes them."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ml_models import conf
from ml_models.engine.errors import ImageTooLarge

_DATA_URI = re.compile(r"^data:[\w/+.-]+;base64,")


@extend_schema_field(OpenApiTypes.BINARY)
class ImageField(serializers.Field):
    """An uploaded file, or base64 in JSON → bytes."""

    default_error_messages = {"invalid": "Send a file, or its bytes as base64 in a JSON body."}

    def to_internal_value(self, data: Any) -> bytes:
        limit = conf.get("MAX_IMAGE_BYTES")
        if isinstance(data, UploadedFile):
            if (data.size or 0) > limit:
                raise ImageTooLarge(f"The picture has {data.size} bytes; {limit} are allowed.")
            return data.read()
        if not isinstance(data, str):
            self.fail("invalid")
        text = _DATA_URI.sub("", data, count=1)
        if len(text) > limit * 4 // 3 + 4:
            raise ImageTooLarge(f"The picture is larger than the {limit} bytes allowed.")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self.fail("invalid")

    def to_representation(self, value: Any) -> None:
        return None  # a picture never goes out


class SubjectIdField(serializers.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=200, help_text="The host's opaque id of the subject.", **kwargs)


class EnrollRequest(serializers.Serializer[Any]):
    subject_id = SubjectIdField()
    image = ImageField(help_text="JPEG, PNG, WebP or HEIC, with exactly one face.")
    override = serializers.BooleanField(
        default=False,
        help_text="Enroll although the face does not match the subject's references; needs override_reference.",
    )


class VerifyRequest(serializers.Serializer[Any]):
    subject_id = SubjectIdField()
    image = serializers.ListField(
        child=ImageField(), min_length=1, max_length=5, help_text="One to five frames of one attempt."
    )

    def to_internal_value(self, data: Any) -> Any:
        # JSON may carry one picture without a list around it; multipart repeats the field
        if isinstance(data, dict) and not hasattr(data, "getlist") and isinstance(data.get("image"), str):
            data = {**data, "image": [data["image"]]}
        return super().to_internal_value(data)


class QualityAnswer(serializers.Serializer[Any]):
    score = serializers.FloatField(help_text="[0, 1]")
    reasons = serializers.ListField(child=serializers.CharField())
    face_px = serializers.FloatField(help_text="shorter side of the face's box, pixels")
    sharpness = serializers.FloatField()
    brightness = serializers.FloatField(help_text="mean luminance, 0–255")
    contrast = serializers.FloatField()
    yaw_deg = serializers.FloatField()
    pitch_deg = serializers.FloatField()
    roll_deg = serializers.FloatField()
    detector_score = serializers.FloatField()
    landmark_residual = serializers.FloatField(help_text="pixels of the 112×112 crop")
    feature_norm = serializers.FloatField(
        allow_null=True, help_text="the networks' feature lengths over those of good pictures; about 1 is good"
    )


class EnrollAnswer(serializers.Serializer[Any]):
    subject_id = serializers.CharField()
    reference_id = serializers.UUIDField()
    config_version = serializers.IntegerField()
    quality = QualityAnswer()
    warnings = serializers.ListField(child=serializers.CharField())


class FrameDropped(serializers.Serializer[Any]):
    frame = serializers.IntegerField(help_text="place in the request, from 0")
    code = serializers.CharField()
    detail = serializers.CharField()


class MemberSimilarity(serializers.Serializer[Any]):
    name = serializers.CharField()
    similarity = serializers.FloatField(
        help_text="cosine, [-1, 1]; of a blurred or covered face relative to the centroid of such faces"
    )


class VerifyAnswer(serializers.Serializer[Any]):
    verification_id = serializers.UUIDField()
    decision = serializers.ChoiceField(choices=["match", "review", "no_match"])
    score = serializers.FloatField(required=False, help_text="natural-log likelihood ratio; needs view_scores")
    threshold = serializers.FloatField(required=False, help_text="in the score's unit; needs view_scores")
    config_version = serializers.IntegerField()
    voters = serializers.ListField(child=serializers.CharField())
    quality = QualityAnswer()
    frames_dropped = FrameDropped(many=True)
    members = MemberSimilarity(many=True, required=False, help_text="needs view_scores")
    elapsed_ms = serializers.FloatField()


class ReferenceSummary(serializers.Serializer[Any]):
    reference_id = serializers.UUIDField()
    captured_at = serializers.DateTimeField()
    quality_score = serializers.FloatField()


class SubjectAnswer(serializers.Serializer[Any]):
    subject_id = serializers.CharField()
    enrolled_at = serializers.DateTimeField()
    references = ReferenceSummary(many=True)


class ErasedAnswer(serializers.Serializer[Any]):
    subject_id = serializers.CharField()
    references_erased = serializers.IntegerField()


class MemberAnswer(serializers.Serializer[Any]):
    name = serializers.CharField()
    family = serializers.CharField()
    weight = serializers.FloatField()
    sha256 = serializers.CharField()
    weights_licence = serializers.CharField()
    training_data = serializers.CharField()
    commercial_use = serializers.CharField()
    citation = serializers.CharField()


class ConfigAnswer(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    name = serializers.CharField()
    notes = serializers.CharField()
    flip = serializers.BooleanField()
    target_fmr = serializers.FloatField()
    members = MemberAnswer(many=True)
    detector = serializers.CharField()
    detector_sha256 = serializers.CharField()
    noncommercial = serializers.BooleanField(help_text="this deployment declares itself non-commercial")


class ProblemAnswer(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
