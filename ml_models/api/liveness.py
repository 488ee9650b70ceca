"""Challenges: what somebody is asked to show before the camera."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from ml_models.engine.turns import STEPS
from ml_models.services import challenges, identification

from . import access, examples
from .base import FaceView, parse, written
from .callers import caller
from .fields import IdField, IdsField, OneOfField, SubjectIdField
from .schema import operation


class ChallengeRequest(serializers.Serializer[Any]):
    purpose = OneOfField(challenges.PURPOSES)
    subject_id = SubjectIdField(required=False)
    group = IdField("group", required=False)
    subject_ids = IdsField(
        identification.MAX_SUBJECTS,
        required=False,
        min_length=1,
        help_text="to identify among these, in place of a group",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        choices = ["group", "subject_ids"] if attrs["purpose"] == "identify" else ["subject_id"]
        named = [name for name in attrs if name != "purpose"]
        if len(named) != 1 or named[0] not in choices:
            says = f"To {attrs['purpose']}, name the {' or the '.join(choices)} and nothing else."
            raise serializers.ValidationError({choices[0]: says})
        return attrs


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
        purpose = data["purpose"]
        if "group" in data:
            claim = data["group"]
            access.require_group(request.user, purpose, claim)
        elif "subject_ids" in data:
            claim = challenges.among(data["subject_ids"])
            access.require_each(request.user, purpose, data["subject_ids"])
        else:
            claim = data["subject_id"]
            access.require(request.user, purpose, claim)
        issued = challenges.issue(caller(request), purpose, claim)
        answer = {
            "challenge_id": issued.challenge_id,
            "nonce": issued.nonce,
            "steps": [{"step": step, "text": challenges.TEXTS[step]} for step in issued.steps],
            "expires_at": issued.expires_at,
        }
        return Response(written(ChallengeAnswer, answer), status=201)
