"""Texts in the caller's language: by code, so that codes and numbers are the same in every language.

English is what the service says itself, and often tells more: how long, how many. In another language the `detail` of a
problem is the sentence for its code, and numbers stand beside it, in members and headers of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import translation
from django.utils.translation import gettext, gettext_noop
from django.utils.translation.trans_real import parse_accept_lang_header

LANGUAGES = ("en", "de", "es", "ar")
"""Those with a catalogue in ml_models/locale; the first is the texts' own."""

PROBLEMS = {
    "invalid_request": gettext_noop("The request is not as it should be."),
    "not_authenticated": gettext_noop("Log in again."),
    "forbidden": gettext_noop("You may not do this."),
    "not_attested": gettext_noop("This device could not be verified. Update the app and try again."),
    "not_enrolled": gettext_noop("This person is not enrolled yet."),
    "not_found": gettext_noop("There is nothing here."),
    "method_not_allowed": gettext_noop("This address does not take this method."),
    "config_changed": gettext_noop("Something was changed meanwhile. Try again."),
    "reference_mismatch": gettext_noop("This does not seem to be the same person."),
    "duplicate_reference": gettext_noop("This picture is enrolled already. Take a new one."),
    "duplicate_face": gettext_noop("Somebody else is enrolled with this face."),
    "reference_limit": gettext_noop("This person has as many pictures as there may be."),
    "challenge_expired": gettext_noop("That took too long. Start again."),
    "challenge_used": gettext_noop("These steps were answered before. Start again."),
    "rollout_refused": gettext_noop("The version cannot be changed this way now."),
    "length_required": gettext_noop("The request does not say how long it is."),
    "image_too_large": gettext_noop("The picture is too large. Make it smaller and send it again."),
    "unsupported_media_type": gettext_noop("The request is in a form that this service does not take."),
    "undecodable_image": gettext_noop("The picture cannot be read. Take another one."),
    "no_face_found": gettext_noop("No face was found. Show the whole face, upright and in the light."),
    "multiple_faces": gettext_noop("There is more than one face. Only one person, please."),
    "face_too_small": gettext_noop("The face is too small. Come nearer."),
    "not_upright": gettext_noop("It cannot be told which way up the face is. Hold the camera upright."),
    "idempotency_conflict": gettext_noop("The same key was used for another request."),
    "idempotency_in_progress": gettext_noop("The same request is still being answered. Try again in a moment."),
    "low_quality": gettext_noop("The picture is not good enough. Take another one."),
    "spoof_suspected": gettext_noop("Hold the camera to the face itself, not to a picture or screen."),
    "challenge_required": gettext_noop("Show that somebody is there: follow the steps."),
    "challenge_failed": gettext_noop("The pictures do not show the steps. Start again."),
    "throttled": gettext_noop("Too many requests. Try again later."),
    "locked_out": gettext_noop("Too many attempts failed. Try again later, or ask somebody on the spot."),
    "inference_failed": gettext_noop("The face could not be compared. The attempt counts for nothing."),
    "internal_error": gettext_noop("Something went wrong in the service. Try again."),
    "not_ready": gettext_noop("The service is not ready. Try again in a moment."),
    "overloaded": gettext_noop("The service is busy. Try again in a moment."),
}

REASONS = {
    "too_far": gettext_noop("come nearer"),
    "too_dark": gettext_noop("too dark"),
    "too_bright": gettext_noop("too bright"),
    "low_contrast": gettext_noop("too little contrast"),
    "blurred": gettext_noop("blurred: hold still"),
    "turned_away": gettext_noop("turn to the camera"),
    "not_at_eye_level": gettext_noop("hold the camera at eye level"),
    "tilted": gettext_noop("hold the head upright"),
    "covered": gettext_noop("uncover the face"),
    "eyes_covered": gettext_noop("uncover the eyes"),
    "unclear_features": gettext_noop("turn to the camera"),
    "poor_quality": gettext_noop("better light, nearer, and look at the camera"),
    "looks_like_a_picture": gettext_noop("hold the camera to the face itself, not to a picture or screen"),
    "too_small_to_tell": gettext_noop("come nearer"),
    "not_measured": gettext_noop("nothing looked for a picture or screen"),
    "no_challenge": gettext_noop("answer a challenge to show that somebody is there"),
    "attended": gettext_noop("somebody on the spot has to look: the head was not turned"),
    "frames_missing": gettext_noop("send one picture for each step, in their order"),
    "not_straight": gettext_noop("look straight into the camera"),
    "not_turned_left": gettext_noop("turn the head further to your left"),
    "not_turned_right": gettext_noop("turn the head further to your right"),
    "turned_too_far": gettext_noop("turn the head less far: both eyes must be seen"),
    "mirrored_camera": gettext_noop("the camera's picture is mirrored: send the one that is not"),
    "another_person": gettext_noop("show the same face in every picture"),
    "same_picture": gettext_noop("take a new picture for each step"),
    "mirrored_picture": gettext_noop("take a new picture for each step, not the mirror image of another"),
    "distance_changed": gettext_noop("keep the same distance to the camera in every picture"),
    "colour_changed": gettext_noop("stay in the same light in every picture"),
}

STEPS = {
    "front": gettext_noop("Look straight into the camera."),
    "left": gettext_noop("Turn your head to your left."),
    "right": gettext_noop("Turn your head to your right."),
}


def language(request: HttpRequest) -> str:
    """The first language of Accept-Language that there is; English otherwise."""
    if not settings.USE_I18N:  # the host wants none
        return LANGUAGES[0]
    for wanted, weight in parse_accept_lang_header(request.headers.get("Accept-Language", "")):
        if weight and (base := wanted.partition("-")[0]) in LANGUAGES:  # 0: not this one
            return base
    return LANGUAGES[0]


@contextmanager
def spoken(request: HttpRequest) -> Iterator[str]:
    """The caller's language, whatever the host's own is."""
    with translation.override(chosen := language(request)):
        yield chosen


def translated(data: Any, chosen: str) -> Any:
    """An answer in the language that is spoken now, `chosen`: what stands beside a code that has a text."""
    return data if chosen == LANGUAGES[0] else _translated(data)


def _translated(data: Any) -> Any:
    if isinstance(data, list | tuple):
        return [_translated(item) for item in data]
    if not isinstance(data, dict):
        return data
    answer = {key: _translated(value) for key, value in data.items()}
    code = data.get("code")
    if "detail" in data and code in PROBLEMS:
        answer["detail"] = gettext(PROBLEMS[code])
    if "text" in data:
        answer["text"] = _text(data)
    if data.get("reasons") and data.get("details"):
        answer["reasons"] = list(dict.fromkeys(reason["text"] for reason in answer["details"]))
    return answer


def _text(data: dict[str, Any]) -> Any:
    """A reason's, or a step's; a reason may be a problem's code, where a frame of a challenge could not be used."""
    code, step = data.get("code"), data.get("step")
    msgid = REASONS.get(code) or PROBLEMS.get(code) if code else STEPS.get(step or "")
    return gettext(msgid) if msgid else data["text"]
