"""Answers as the OpenAPI document shows them. No picture, and nobody's: ids and numbers are invented."""

from __future__ import annotations

from typing import Any

_ID = "0c4e9a54-8f0b-4f0e-9d53-3a4a6f6f2d11"
_AT = "2026-11-26T07:41:05.120000Z"
QUALITY: dict[str, Any] = {
    "score": 0.95,
    "reasons": [],
    "face_px": 260.4,
    "sharpness": 214.0,
    "brightness": 118.2,
    "contrast": 47.5,
    "yaw_deg": -0.8,
    "pitch_deg": 2.1,
    "roll_deg": 0.4,
    "detector_score": 0.93,
    "landmark_residual": 1.2,
    "eye_contrast": 0.7,
    "eyes_visible": 0.99,
    "feature_norm": 1.02,
    "details": [],
}
ENROLLED = {
    "subject_id": "child-1",
    "reference_id": _ID,
    "config_version": 5,
    "quality": QUALITY,
    "warnings": [],
}
_DECIDED = {
    "decision": "match",
    "config_version": 5,
    "voters": ["arcface_int8", "mobilefacenet_192", "sface_2021dec"],
    "quality": QUALITY,
    "frames_dropped": [],
    "elapsed_ms": 49.8,
}
VERIFIED = {"verification_id": _ID, **_DECIDED}
IDENTIFIED = {
    "identification_id": _ID,
    "subject_id": "child-1",
    "roster_size": 42,
    "searched": 40,
    "not_enrolled": 2,
    "not_embedded": 0,
    **_DECIDED,
}
ASSESSED = {"acceptable": True, "config_version": 5, "quality": QUALITY}
CHALLENGE = {
    "challenge_id": _ID,
    "nonce": "Yk3v0a2nZr8qJt1sVb6uPw",
    "steps": [
        {"step": "front", "text": "Look straight into the camera."},
        {"step": "left", "text": "Turn your head to your left."},
        {"step": "right", "text": "Turn your head to your right."},
    ],
    "expires_at": _AT,
}
SUBJECT = {
    "subject_id": "child-1",
    "enrolled_at": _AT,
    "references": [{"reference_id": _ID, "captured_at": _AT, "quality_score": 0.95}],
}
ERASED = {"subject_id": "child-1", "references_erased": 2}
RELEASED = {"subject_id": "child-1", "released": True}
GROUP = {"group_id": "bus-7", "size": 2, "subject_ids": ["child-1", "child-2"], "not_enrolled": ["child-2"]}
CONFIG = {
    "version": 5,
    "name": "three members",
    "notes": "",
    "flip": False,
    "target_fmr": 0.001,
    "members": [
        {
            "name": "arcface_int8",
            "family": "arcface",
            "weight": 1.0,
            "sha256": "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581",
            "weights_licence": "MIT",
            "training_data": "undisclosed",
            "commercial_use": "unknown",
            "citation": "Deng et al., 2019",
        }
    ],
    "detector": "yunet_2023mar",
    "detector_sha256": "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "presentation": [],
    "eyes": [],
    "glasses": [],
    "noncommercial": True,
}
CONFIG_SUMMARY = {
    "version": 5,
    "name": "three members",
    "state": "active",
    "flip": False,
    "target_fmr": 0.001,
    "members": {"arcface_int8": 0.4, "mobilefacenet_192": 0.3, "sface_2021dec": 0.3},
    "warm_until": None,
}
VERSION = {"version": 5, "state": "validated"}
ACTIVATED = {"rollout_id": _ID}
ROLLOUT = {
    "rollout_id": _ID,
    "version": 5,
    "state": "embedding",
    "reason": "",
    "percent": 62,
    "pairs": 12000,
    "missing": 4560,
    "failures": {"no_face_found": 3},
    "references_per_s": 18.5,
    "seconds_left": 246.0,
    "processes": {"web-1": True, "worker-1": False},
    "shadow": {"scored": 310, "agreement": 0.997, "score_shift": {"match": 0.4}, "changes": {"review → match": 1}},
}
