"""The REST interface of identification: who of a roster is it?"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from ml_models import services
from ml_models.services import audit
from ml_models.services.identification import MAX_SUBJECTS, Identified

from . import access, attestation, examples
from . import serializers as s
from .base import FaceView, audited, parse, told, written
from .callers import caller
from .fields import IdField, IdsField
from .schema import LIVE, PICTURE, operation


class SubjectIdsField(IdsField):
    """One id or a list of them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MAX_SUBJECTS, allow_empty=False, **kwargs)

    def to_internal_value(self, data: Any) -> list[str]:
        return super().to_internal_value([data] if isinstance(data, str) else data)


class IdentifyRequest(s.AnsweringRequest):
    group = IdField("group", required=False)
    subject_id = SubjectIdsField(required=False, help_text="Without a group: the subjects to search among.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("group" in attrs) == ("subject_id" in attrs):
            raise serializers.ValidationError({"group": "Name either a group, or the subjects in `subject_id`."})
        return super().validate(attrs)


class CandidateAnswer(serializers.Serializer[Any]):
    subject_id = serializers.CharField()
    score = serializers.FloatField(required=False, help_text="natural-log likelihood ratio; needs view_scores")


class IdentifyAnswer(s.LiveAnswer):
    identification_id = serializers.UUIDField()
    decision = serializers.ChoiceField(choices=["match", "review", "no_match"])
    subject_id = serializers.CharField(required=False, help_text="match: who it is")
    candidates = CandidateAnswer(
        many=True, required=False, help_text="review: at most 3, the best first; needs view_candidates"
    )
    roster_size = serializers.IntegerField(help_text="how many subjects were asked for")
    searched = serializers.IntegerField(help_text="how many of them have a reference that was compared")
    not_enrolled = serializers.IntegerField(help_text="how many have no reference")
    not_embedded = serializers.IntegerField(help_text="how many have none that the active version could embed yet")
    score = serializers.FloatField(required=False, help_text="the best candidate's; needs view_scores")
    threshold = serializers.FloatField(required=False, help_text="for this many candidates; needs view_scores")
    margin = serializers.FloatField(
        required=False, help_text="how far the next candidate is behind, where there is one; needs view_scores"
    )
    members = s.MemberSimilarity(many=True, required=False, help_text="the best candidate's; needs view_scores")
    config_version = serializers.IntegerField()
    voters = serializers.ListField(child=serializers.CharField())
    quality = s.QualityAnswer()
    frames_dropped = s.FrameDropped(many=True)
    elapsed_ms = serializers.FloatField()


class IdentifyView(FaceView):
    permission_classes = [IsAuthenticated]

    @operation(
        "identify",
        {200: IdentifyAnswer},
        "not_enrolled config_changed locked_out",
        *(PICTURE, LIVE),
        form=IdentifyRequest,
        parameters=[attestation.PARAMETER],
        example=examples.IDENTIFIED,
    )
    def post(self, request: Request) -> Response:
        """Who of a group, or of these subjects, is the face in the frames? Nobody is named in doubt."""
        data = parse(IdentifyRequest, request)
        who = caller(request, data["capture_point"])
        group, among = data.get("group"), data.get("subject_id", [])
        with audited(audit.Kind.IDENTIFY, who):
            if group is not None:
                access.require_group(request.user, "identify", group)
            else:
                access.require_each(request.user, "identify", among)
            attestation.require(request)
        done = services.identify(who, data["image"], group_id=group, among=among, answer=data["answer"])
        return Response(written(IdentifyAnswer, _answer(request, done)))


def _answer(request: Request, done: Identified) -> dict[str, Any]:
    sees_scores = request.user.has_perm("ml_models.view_scores")
    answer: dict[str, Any] = {
        "identification_id": done.identification.pk,
        "decision": done.decision.decision,
        "roster_size": done.identification.roster_size,
        "searched": done.identification.candidates,
        "not_enrolled": done.roster.not_enrolled,
        "not_embedded": done.roster.not_embedded,
        "config_version": done.config.version,
        "voters": list(done.decision.voters),
        "quality": done.quality.to_json(),
        "frames_dropped": done.frames_dropped,
        "elapsed_ms": round(done.elapsed_ms, 1),
        **told(done.live),
    }
    if done.subject_id is not None:
        answer["subject_id"] = done.subject_id
    if done.candidates and request.user.has_perm("ml_models.view_candidates"):
        scores = [{"score": round(one.score, 4)} if sees_scores else {} for one in done.candidates]
        ids = [{"subject_id": one.candidate.subject_id} for one in done.candidates]
        answer["candidates"] = [{**one, **score} for one, score in zip(ids, scores, strict=True)]
    if sees_scores:
        answer["score"], answer["threshold"] = round(done.decision.score, 4), round(done.decision.threshold, 4)
        if done.margin is not None:
            answer["margin"] = round(done.margin, 4)
        similarities = done.decision.similarities.items()
        answer["members"] = [{"name": name, "similarity": round(value, 4)} for name, value in similarities]
    return answer
