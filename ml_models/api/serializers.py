"""What comes in and goes out. Pictures stay bytes here; only the engine decodes them."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.core.validators import RegexValidator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ml_models import conf
from ml_models.engine.errors import ImageTooLarge
from ml_models.services import subject_ids
from ml_models.services.challenges import Answer

# base64 as clients write it: either alphabet, lines, no padding
_STANDARD, _BLANKS = bytes.maketrans(b"-_", b"+/"), b" \t\r\n\v\f"
# of a data URL; its other characters need none
_ESCAPES = [(f"%{code}", digit) for digit in "+/=" for code in (f"{ord(digit):02X}", f"{ord(digit):02x}")]


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
        if isinstance(data, bytes):
            if len(data) > limit:
                raise ImageTooLarge(f"The picture has {len(data)} bytes; {limit} are allowed.")
            return data
        if not isinstance(data, str):
            self.fail("invalid")
        if len(data) > 2 * limit:
            raise ImageTooLarge(f"The picture is larger than the {limit} bytes allowed.")
        picture = self._from_base64(data)
        if len(picture) > limit:
            raise ImageTooLarge(f"The picture has {len(picture)} bytes; {limit} are allowed.")
        return picture

    def _from_base64(self, text: str) -> bytes:
        text = text.lstrip()
        if text[:5].lower() == "data:":
            head, _, text = text.partition(",")
            if head.lower().replace(" ", "")[-7:] != ";base64":
                self.fail("invalid")
            for escape, digit in _ESCAPES:
                text = text.replace(escape, digit)
        try:
            digits = text.encode("ascii").translate(_STANDARD, _BLANKS).rstrip(b"=")
            return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)
        except ValueError:  # UnicodeEncodeError and binascii.Error are
            self.fail("invalid")

    def to_representation(self, value: Any) -> None:
        return None  # a picture never goes out


class IdField(serializers.CharField):
    """The host's id of a subject or a group, by the rule of `services.subject_ids`; nothing is trimmed, since what is
    left would be another id."""

    def __init__(self, what: str, **kwargs: Any) -> None:
        self._what = what
        super().__init__(
            max_length=subject_ids.MAX_LENGTH,
            trim_whitespace=False,
            help_text=f"The host's opaque id of the {what}: no control characters, no outer blanks, not `.` nor `..`.",
            **kwargs,
        )

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, float):  # 7.0 and 1e400 would be the ids “7.0” and “inf”
            self.fail("invalid")
        text = super().to_internal_value(data)
        # before the validators, which look at every character of a text of any length
        if reason := subject_ids.trouble(text, self._what):
            raise serializers.ValidationError(reason, f"{self._what}_id")
        return text


class SubjectIdField(IdField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__("subject", **kwargs)


class IdsField(serializers.ListField):
    """Subjects' ids. How many there are is looked at first, and the first one that breaks the rule ends it, so that the
    answer to a long list is short."""

    def __init__(self, most: int, **kwargs: Any) -> None:
        self._most = most
        super().__init__(child=SubjectIdField(), max_length=most, **kwargs)

    def to_internal_value(self, data: Any) -> list[str]:
        if isinstance(data, list) and len(data) > self._most:
            self.fail("max_length", max_length=self._most)
        return list(super().to_internal_value(data))

    def run_child_validation(self, data: Any) -> list[str]:
        return [self.child.run_validation(subject_id) for subject_id in data]


class OneOfField(serializers.ChoiceField):
    """One of some words; what was sent in place of one is not repeated."""

    def __init__(self, choices: Sequence[str], **kwargs: Any) -> None:
        says = f"Send one of these: {', '.join(choices)}."
        super().__init__(choices=choices, error_messages={"invalid_choice": says}, **kwargs)


def require_each_once(fields: Mapping[str, Any], data: Any) -> None:
    """Refuse a form that has two values where one belongs: somebody before us may have looked at the other one.

    Raises:
        ValidationError
    """
    values = getattr(data, "getlist", lambda name: ())  # JSON has each once, by its parser
    single = [name for name, field in fields.items() if not isinstance(field, serializers.ListField)]
    if twice := [name for name in single if len(values(name)) > 1]:
        raise serializers.ValidationError({name: ["Send one value; the form has several."] for name in twice})


class CapturePointField(serializers.CharField):
    """Where a picture was taken; kept with the audit row, so it is held to short plain text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            max_length=50,
            default="",
            allow_blank=True,
            validators=[RegexValidator(r"\A[^\x00-\x1f\x7f]*\Z", "No control characters.")],
            help_text="Where the picture was taken, for the audit: “front door”.",
            **kwargs,
        )


@extend_schema_field(
    {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": conf.get("MAX_FRAMES"),
    }
)
class FramesField(serializers.ListField):
    """One picture or a list of them → bytes each. How many there are is looked at first, and the first one that is not
    as it should be ends it."""

    child = ImageField()
    default_error_messages = {"count": "Send 1 to {most} pictures; this list has {count} entries."}

    def to_internal_value(self, data: Any) -> list[bytes]:
        # JSON may carry one picture without a list around it
        frames = [data] if isinstance(data, str) else data
        if not isinstance(frames, list):
            self.fail("not_a_list", input_type=type(data).__name__)
        most = conf.get("MAX_FRAMES")
        if not 1 <= len(frames) <= most:
            self.fail("count", most=most, count=len(frames))
        return [self.child.run_validation(frame) for frame in frames]


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
        help_text="Enroll although the face does not match the subject's references, or matches another member of the "
        "group; needs override_reference.",
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
