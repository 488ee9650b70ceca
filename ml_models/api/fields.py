"""The fields that callers send. Pictures stay bytes here; only the engine decodes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.core.validators import RegexValidator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.utils import html

from ml_models import conf
from ml_models.engine.errors import ImageTooLarge
from ml_models.services import subject_ids

from .parsers import from_base64

# characters of a form's part that may be a list: 2,000 ids of 200, with what JSON puts around them
_MAX_JSON_LIST = 500_000
# of a data URL, perhaps of base64 in lines; its other characters need none
_ESCAPES = [(f"%{code}", sign) for sign in "+/=\r\n " for code in {f"{ord(sign):02X}", f"{ord(sign):02x}"}]


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
            for escape, sign in _ESCAPES:
                text = text.replace(escape, sign)
        try:
            return from_base64(text.encode("ascii"))
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
    """Subjects' ids; in a form a part for each, or a single one with all of them as JSON. How many there are is looked
    at first, and the first one that breaks the rule ends it, so that the answer to a long list is short."""

    def __init__(self, most: int, **kwargs: Any) -> None:
        self._most = most
        super().__init__(child=SubjectIdField(), max_length=most, **kwargs)

    def get_value(self, dictionary: Any) -> Any:
        value = super().get_value(dictionary)
        alone = html.is_html_input(dictionary) and isinstance(value, list) and len(value) == 1
        return _texts_of(value[0]) if alone and isinstance(value[0], str) else value

    def to_internal_value(self, data: Any) -> list[str]:
        if isinstance(data, list) and len(data) > self._most:
            self.fail("max_length", max_length=self._most)
        return list(super().to_internal_value(data))

    def run_child_validation(self, data: Any) -> list[str]:
        return [self._checked(number, len(data), subject_id) for number, subject_id in enumerate(data, 1)]

    def _checked(self, number: int, count: int, subject_id: Any) -> str:
        try:
            return str(self.child.run_validation(subject_id))
        except serializers.ValidationError as error:
            which = f"Entry {number} of {count}: " if count > 1 else ""
            raise serializers.ValidationError([f"{which}{reason}" for reason in error.detail]) from error


def _texts_of(part: str) -> list[str]:
    """What a part of a form says: the texts of a JSON list, else itself."""
    if part[:1] + part[-1:] != "[]" or len(part) > _MAX_JSON_LIST:
        return [part]
    try:
        texts = json.loads(part)
    except (ValueError, RecursionError):
        return [part]
    return texts if all(isinstance(text, str) for text in texts) else [part]


class OneOfField(serializers.ChoiceField):
    """One of some words; what was sent in place of one is not repeated."""

    def __init__(self, choices: Sequence[str], **kwargs: Any) -> None:
        says = f"Send one of these: {', '.join(choices)}."
        super().__init__(choices=choices, error_messages={"invalid_choice": says}, **kwargs)


# neither a control character, nor one that ends a line or turns the direction of writing, nor none at all
_PLAIN = r"\A[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]*\Z"


class CapturePointField(serializers.CharField):
    """Where a picture was taken; kept with the audit row, so it is held to short plain text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            max_length=50,
            default="",
            allow_blank=True,
            validators=[RegexValidator(_PLAIN, "No control characters.")],
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
