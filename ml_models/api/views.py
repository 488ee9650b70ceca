"""The REST interface: a view parses, asks the access policy and delegates; that is all."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from ml_models import conf, selectors, services
from ml_models.exceptions import DuplicateFace, NotReady
from ml_models.models import Artifact, Verification
from ml_models.services import audit, lockout
from ml_models.services.challenges import Answer
from ml_models.services.readiness import readiness

from . import access, attestation, examples, idempotency
from . import serializers as s
from .base import Afterwards, FaceView, audited, parse, told, written
from .callers import caller
from .errors import problem
from .fields import SubjectIdField
from .idempotency import once
from .schema import LIVE, PICTURE, REPEATED, operation


def _subject_id(path: str) -> str:
    """A subject's id from the address, held to the rules of the one in a body."""
    return str(SubjectIdField().run_validation(path))


class EnrollView(FaceView):
    permission_classes = [IsAuthenticated]

    @operation(
        "enroll",
        {201: s.EnrollAnswer},
        "config_changed reference_mismatch duplicate_reference duplicate_face reference_limit locked_out",
        *(PICTURE, LIVE, REPEATED),
        form=s.EnrollRequest,
        parameters=[idempotency.PARAMETER, attestation.PARAMETER],
        example=examples.ENROLLED,
    )
    def post(self, request: Request) -> Response:
        """Add a reference to a subject, who begins to exist with the first one."""
        data = parse(s.EnrollRequest, request)
        who = caller(request, data["capture_point"])
        with audited(audit.Kind.OVERRIDE if data["override"] else audit.Kind.ENROLL, who, data["subject_id"]):
            access.require(request.user, "enroll", data["subject_id"])
            if data["override"]:
                access.require_permission(request.user, "override_reference")
            if "group" in data:
                access.require_group(request.user, "enroll", data["group"])
            attestation.require(request)

        def enroll(challenge: Answer | None) -> services.Enrolled:
            return services.enroll(
                who, data["subject_id"], data["image"], data["override"], challenge, data.get("group")
            )

        try:
            answer, _ = once(request, who, "enroll", data, enroll, _enrolled)
        except DuplicateFace as error:
            if not access.sees_candidate(request.user, error.subject_id):
                raise
            return problem(error.code, str(error), subject_id=error.subject_id)
        return Response(written(s.EnrollAnswer, {"subject_id": data["subject_id"], **answer}), status=201)


def _enrolled(done: services.Enrolled) -> dict[str, Any]:
    return {
        "reference_id": done.reference.pk,
        "config_version": done.config.version,
        "quality": done.quality.to_json(),
        "warnings": done.warnings,
        **told(done.live),
    }


class VerifyView(FaceView):
    permission_classes = [IsAuthenticated]

    @operation(
        "verify",
        {200: s.VerifyAnswer},
        "not_enrolled locked_out",
        *(PICTURE, LIVE, REPEATED),
        form=s.VerifyRequest,
        parameters=[idempotency.PARAMETER, attestation.PARAMETER],
        example=examples.VERIFIED,
    )
    def post(self, request: Request) -> Response:
        """Is the face in the frames the subject's?"""
        data = parse(s.VerifyRequest, request)
        who = caller(request, data["capture_point"])
        with audited(audit.Kind.VERIFY, who, data["subject_id"]):
            access.require(request.user, "verify", data["subject_id"])
            attestation.require(request)

        def verify(challenge: Answer | None) -> services.Verified:
            return services.verify(who, data["subject_id"], data["image"], challenge)

        answered = once(request, who, "verify", data, verify, _verified)
        answer, done = answered
        scores = {}
        if request.user.has_perm("ml_models.view_scores"):
            scores = _scores(done.verification if done else selectors.verification(answer["verification_id"]))
        body = written(s.VerifyAnswer, {**answer, **scores})
        return Afterwards(body, done.afterwards) if done else Response(body)


def _verified(done: services.Verified) -> dict[str, Any]:
    return {
        "verification_id": done.verification.pk,
        "decision": done.decision.decision,
        "config_version": done.config.version,
        "voters": list(done.decision.voters),
        "quality": done.quality.to_json(),
        "frames_dropped": done.frames_dropped,
        "elapsed_ms": round(done.elapsed_ms, 1),
        **told(done.live),
    }


def _scores(row: Verification) -> dict[str, Any]:
    """The scores of a verification, for holders of `view_scores`."""
    if row.score is None or row.threshold is None:  # of an attempt that came to no decision
        return {}
    live = {"live_score": row.liveness["score"]} if "score" in row.liveness else {}
    return {
        "score": round(row.score, 4),
        "threshold": round(row.threshold, 4),
        "members": [{"name": name, "similarity": round(value, 4)} for name, value in sorted(row.similarities.items())],
        **live,
    }


class SubjectView(FaceView):
    permission_classes = [IsAuthenticated]

    @operation("get_subject", {200: s.SubjectAnswer}, "not_found", example=examples.SUBJECT)
    def get(self, request: Request, subject_id: str) -> Response:
        """What is enrolled for a subject; no picture, no vector."""
        subject_id = _subject_id(subject_id)
        access.require(request.user, "read", subject_id)
        subject = selectors.subject(subject_id)
        references = [
            {"reference_id": r.pk, "captured_at": r.captured_at, "quality_score": r.quality["score"]}
            for r in subject.references.all()
        ]
        answer = {"subject_id": subject_id, "enrolled_at": subject.created_at, "references": references}
        return Response(written(s.SubjectAnswer, answer))

    @operation("erase_subject", {200: s.ErasedAnswer}, "not_found", example=examples.ERASED)
    def delete(self, request: Request, subject_id: str) -> Response:
        """Erase a subject: chips and the embeddings of every version."""
        subject_id = _subject_id(subject_id)
        with audited(audit.Kind.ERASE_SUBJECT, caller(request), subject_id):
            access.require(request.user, "erase", subject_id)
        count = services.erase_subject(caller(request), subject_id)
        return Response(written(s.ErasedAnswer, {"subject_id": subject_id, "references_erased": count}))


class ReleaseView(FaceView):
    permission_classes = [IsAuthenticated]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.method == "POST":
            return super().dispatch(request, *args, **kwargs)
        # an id may end in /release: reading and erasing such a subject is not ours
        return SubjectView.as_view()(request, subject_id=f"{kwargs['subject_id']}/release")

    @operation("release_subject", {200: s.ReleasedAnswer}, "not_found", example=examples.RELEASED)
    def post(self, request: Request, subject_id: str) -> Response:
        """Lift a subject's lock-out before its time: a person on the spot knows who it is."""
        subject_id = _subject_id(subject_id)
        with audited(audit.Kind.RELEASE, caller(request), subject_id):
            access.require_permission(request.user, "release_subject")  # whatever the host's policy says
            access.require(request.user, "release", subject_id)
        released = lockout.release(caller(request), subject_id)
        return Response(written(s.ReleasedAnswer, {"subject_id": subject_id, "released": released}))


class ReferenceView(FaceView):
    permission_classes = [IsAuthenticated]

    @operation("erase_reference", {204: None}, "not_found")
    def delete(self, request: Request, reference_id: UUID) -> Response:
        """Erase one reference and its embeddings of every version."""
        # a reference that does not exist is asked for under no subject's id: only a service may learn that it is gone
        subject_id = selectors.subject_id_of(reference_id) or ""
        with audited(audit.Kind.ERASE_REFERENCE, caller(request), subject_id):
            access.require(request.user, "erase", subject_id)
        services.erase_reference(caller(request), reference_id)
        return Response(status=204)


class ConfigView(FaceView):
    permission_classes = [IsAuthenticated]

    @operation("get_config", {200: s.ConfigAnswer}, example=examples.CONFIG)
    def get(self, request: Request) -> Response:
        """The active version: networks, digests, licences, citations."""
        config = selectors.active_config()
        members = [{**_network(member.artifact), "weight": member.weight} for member in config.members.all()]
        answer = {
            "version": config.version,
            "name": config.name,
            "notes": config.notes,
            "flip": config.flip,
            "target_fmr": config.target_fmr,
            "members": members,
            "detector": config.detector.name,
            "detector_sha256": config.detector.sha256,
            "presentation": [_network(artifact) for artifact in config.attack_detectors],
            "eyes": [_network(artifact) for artifact in config.placed.get("eyes", [])],
            "glasses": [_network(artifact) for artifact in config.placed.get("glasses", [])],
            "noncommercial": conf.get("NONCOMMERCIAL"),
        }
        return Response(written(s.ConfigAnswer, answer))


def _network(artifact: Artifact) -> dict[str, Any]:
    fields = ("name", "family", "sha256", "weights_licence", "training_data", "commercial_use", "citation")
    return {field: getattr(artifact, field) for field in fields}


class HealthView(FaceView):
    """The process is alive; says nothing about the networks."""

    authentication_classes = ()
    permission_classes = [AllowAny]

    @operation("healthz", {200: s.HealthAnswer}, example={"status": "ok"})
    def get(self, request: Request) -> Response:
        """The process is alive."""
        return Response({"status": "ok"})


class ReadyView(FaceView):
    """The networks of the active version are loaded and have answered once."""

    authentication_classes = ()
    permission_classes = [AllowAny]

    @operation("readyz", {200: s.ReadyAnswer}, example={"status": "ready", "degraded": []})
    def get(self, request: Request) -> Response:
        """The active version's networks are loaded, and can answer."""
        now = readiness()
        if now.missing:
            raise NotReady(" ".join(now.missing))
        return Response({"status": "ready", "degraded": now.degraded})
