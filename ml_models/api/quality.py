"""The REST interface's guidance for whoever takes a picture."""

from __future__ import annotations

from typing import Any, get_args

from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from ml_models.services import quality

from . import examples
from .base import FaceView, parse, written
from .fields import ImageField, OneOfField
from .schema import PICTURE, operation
from .serializers import QualityAnswer


class QualityRequest(serializers.Serializer[Any]):
    image = ImageField(help_text="JPEG, PNG, WebP or HEIC.")
    purpose = OneOfField(
        get_args(quality.Purpose), default="verify", help_text="what the picture is for: enroll asks for more"
    )


class AssessmentAnswer(serializers.Serializer[Any]):
    acceptable = serializers.BooleanField(
        help_text="nothing speaks against the picture; that the networks find it too poor shows only at the call itself"
    )
    config_version = serializers.IntegerField()
    quality = QualityAnswer()


class QualityView(FaceView):
    permission_classes = [IsAuthenticated]

    @operation("assess_quality", {200: AssessmentAnswer}, PICTURE, form=QualityRequest, example=examples.ASSESSED)
    def post(self, request: Request) -> Response:
        """What a picture is like. Nobody is compared, and nothing is kept."""
        data = parse(QualityRequest, request)
        done = quality.assess(data["image"], data["purpose"])
        answer = {
            "acceptable": done.acceptable,
            "config_version": done.config.version,
            "quality": done.quality.to_json(),
        }
        return Response(written(AssessmentAnswer, answer))
