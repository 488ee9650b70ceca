"""What comes in and goes out."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ml_models.services.challenges import Answer

from .fields import CapturePointField, FramesField, IdField, SubjectIdField


class AnsweringRequest(serializers.Serializer[Any]):
    """The frames of one attempt, and the challenge that they answer, if any."""

    image = FramesField(help_text="Frames of one attempt; with a challenge one of each step, in their order.")
    challenge_id = serializers.UUIDField(required=False, help_text="of POST liveness/challenges")
    nonce = serializers.CharField(required=False, max_length=64, help_text="the challenge's")
    capture_point = CapturePointField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        challenge_id, nonce = attrs.pop("challenge_id", None), attrs.pop("nonce", None)
        if (challenge_id is None) != (nonce is None):
            missing = "nonce" if nonce is None else "challenge_id"
            raise serializers.ValidationError({missing: "challenge_id and nonce go together."})
        return {**attrs, "answer": Answer(challenge_id, nonce) if challenge_id and nonce else None}


class VerifyRequest(AnsweringRequest):
    subject_id = SubjectIdField()


class EnrollRequest(AnsweringRequest):
    subject_id = SubjectIdField()
    image = FramesField(
        help_text="One picture with one face. With a challenge one of each step, in their order: the first front one "
        "becomes the reference."
    )
    override = serializers.BooleanField(
        default=False,
        help_text="Enroll although the face does not match the subject's references, matches another member of the "
        "group, or is classified as one with covered eyes; needs override_reference.",
    )
    group = IdField("group", required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if attrs["answer"] is None and len(attrs["image"]) > 1:
            raise serializers.ValidationError({"image": "Send one picture; several only with a challenge."})
        return attrs


class ReasonAnswer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="stable; docs/errors.md lists them")
    text = serializers.CharField(help_text="words that a phone can show")
    measure = serializers.CharField(
        required=False, help_text="a name in `quality`; absent where the embeddings were classified as this condition"
    )
    value = serializers.FloatField(required=False, help_text="of an angle, how far it is from zero")
    at_least = serializers.FloatField(required=False)
    at_most = serializers.FloatField(required=False)
    frame = serializers.IntegerField(required=False, help_text="of a challenge: place in the request, from 0")


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
    eye_contrast = serializers.FloatField(help_text="how much is to be seen of the eyes; 0.3 to 1 is good")
    eyes_visible = serializers.FloatField(
        allow_null=True,
        help_text="[0, 1]: how likely the eyes are to be seen; null where the version does not look for them",
    )
    feature_norm = serializers.FloatField(
        allow_null=True, help_text="the networks' feature lengths over those of good pictures; about 1 is good"
    )
    details = ReasonAnswer(many=True, help_text="the codes and numbers behind `reasons`")


class LiveAnswer(serializers.Serializer[Any]):
    """Absent where the policy looks for nothing and no challenge was answered."""

    live = serializers.ChoiceField(
        required=False, choices=["yes", "no", "uncertain"], help_text="whether a person was before the camera"
    )
    live_reasons = ReasonAnswer(many=True, required=False, help_text="why it is not `yes`")


class EnrollAnswer(LiveAnswer):
    subject_id = serializers.CharField()
    reference_id = serializers.UUIDField()
    config_version = serializers.IntegerField()
    quality = QualityAnswer()
    warnings = serializers.ListField(child=serializers.CharField())


class FrameDropped(serializers.Serializer[Any]):
    frame = serializers.IntegerField(help_text="place in the request, from 0")
    code = serializers.CharField()
    detail = serializers.CharField()
    details = ReasonAnswer(many=True, help_text="the codes and numbers behind low_quality")


class MemberSimilarity(serializers.Serializer[Any]):
    name = serializers.CharField()
    similarity = serializers.FloatField(
        help_text="cosine, [-1, 1]; of a blurred or covered face relative to the centroid of such faces"
    )


class VerifyAnswer(LiveAnswer):
    verification_id = serializers.UUIDField()
    decision = serializers.ChoiceField(choices=["match", "review", "no_match"])
    score = serializers.FloatField(required=False, help_text="natural-log likelihood ratio; needs view_scores")
    threshold = serializers.FloatField(required=False, help_text="in the score's unit; needs view_scores")
    live_score = serializers.FloatField(
        required=False, help_text="natural-log likelihood ratio of a person over an attack; needs view_scores"
    )
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


class ReleasedAnswer(serializers.Serializer[Any]):
    subject_id = serializers.CharField()
    released = serializers.BooleanField(help_text="false: there was no lock to lift")


class NetworkAnswer(serializers.Serializer[Any]):
    name = serializers.CharField()
    family = serializers.CharField()
    sha256 = serializers.CharField()
    weights_licence = serializers.CharField()
    training_data = serializers.CharField()
    commercial_use = serializers.CharField()
    citation = serializers.CharField()


class MemberAnswer(NetworkAnswer):
    weight = serializers.FloatField()


class ConfigAnswer(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    name = serializers.CharField()
    notes = serializers.CharField()
    flip = serializers.BooleanField()
    target_fmr = serializers.FloatField()
    members = MemberAnswer(many=True)
    detector = serializers.CharField()
    detector_sha256 = serializers.CharField()
    presentation = NetworkAnswer(many=True, help_text="what looks for presentation attacks; of several the mean counts")
    eyes = NetworkAnswer(many=True, help_text="what tells whether a reference's eyes are covered; at most one")
    glasses = NetworkAnswer(many=True, help_text="what tells whether glasses are worn; at most one")
    noncommercial = serializers.BooleanField(help_text="this deployment declares itself non-commercial")


class ProblemAnswer(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField(help_text="urn:ml-models: and the code")
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="stable; docs/errors.md lists them")
    detail = serializers.CharField(help_text="what is wrong and what to do, for a person")
    errors = serializers.JSONField(  # type: ignore[assignment]
        required=False, help_text="invalid_request: what is wrong, by field"
    )
    reasons = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="low_quality: words that a phone can show; rollout_refused: what speaks against the version",
    )
    details = ReasonAnswer(
        many=True, required=False, help_text="low_quality, challenge_failed, spoof_suspected: what is behind `reasons`"
    )
    reference_id = serializers.UUIDField(required=False, help_text="duplicate_reference: the one that is there")
    right = serializers.CharField(required=False, help_text="forbidden: the permission that the call takes")


class HealthAnswer(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="ok")


class ReadyAnswer(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="ready")
    degraded = serializers.ListField(
        child=serializers.CharField(), help_text="what versions that are rolling out or warm lack here"
    )
