"""Challenges: what somebody is asked to show before the camera."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from ml_models.services import challenges

from . import access
from . import serializers as s
from .callers import caller
from .views import PROBLEM, FaceView, parse


class ChallengeView(FaceView):
    permission_classes = [IsAuthenticated]

    @extend_schema(request=s.ChallengeRequest, responses={201: s.ChallengeAnswer, **PROBLEM})
    def post(self, request: Request) -> Response:
        """Steps for one attempt, drawn by chance. Whoever may make the attempt may ask; asking counts as one."""
        data = parse(s.ChallengeRequest, request)
        if data["purpose"] == "identify":
            access.require_group(request.user, "identify", data["claim"])
        else:
            access.require(request.user, data["purpose"], data["claim"])
        issued = challenges.issue(caller(request), data["purpose"], data["claim"])
        answer = {
            "challenge_id": issued.challenge_id,
            "nonce": issued.nonce,
            "steps": [{"step": step, "text": challenges.TEXTS[step]} for step in issued.steps],
            "expires_at": issued.expires_at,
        }
        return Response(s.ChallengeAnswer(answer).data, status=201)
