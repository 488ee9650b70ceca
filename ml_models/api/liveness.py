"""Challenges: what somebody is asked to show before the camera."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from ml_models.engine.turns import STEPS
from ml_models.services import challenges

from . import access, examples
from . import serializers as s
from .callers import caller
from .schema import operation
from .views import FaceView, parse


class ChallengeRequest(serializers.Serializer[Any]):
    purpose = serializers.ChoiceField(choices=challenges.PURPOSES)
    subject_id = s.SubjectIdField(required=False)
    group = s.IdField("group", required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        needed = "group" if attrs["purpose"] == "identify" else "subject_id"
        if attrs.keys() - {"purpose"} != {needed}:
            raise serializers.ValidationError({needed: f"To {attrs['purpose']}, name the {needed} and nothing else."})
        return {"purpose": attrs["purpose"], "claim": attrs[needed]}


class StepAnswer(serializers.Serializer[Any]):
    step = serializers.ChoiceField(
        choices=STEPS, help_text="left and right are the person's own, in a picture that is not mirrored"
    )
    text = serializers.CharField(help_text="words that a phone can show")


class ChallengeAnswer(serializers.Serializer[Any]):
    challenge_id = serializers.UUIDField()
    nonce = serializers.CharField(help_text="send it with the frames; nobody can ask for it again")
    steps = StepAnswer(many=True, help_text="take one picture of each, in this order")
    expires_at = serializers.DateTimeField()


class ChallengeView(FaceView):
    permission_classes = [IsAuthenticated]

    @operation(
        "ask_challenge",
        {201: ChallengeAnswer},
        body=ChallengeRequest,
        example=examples.CHALLENGE,
        sent={"purpose": "verify", "subject_id": "child-1"},
    )
    def post(self, request: Request) -> Response:
        """Steps for one attempt, drawn by chance. Whoever may make the attempt may ask; asking counts as one."""
        data = parse(ChallengeRequest, request)
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
        return Response(ChallengeAnswer(answer).data, status=201)
