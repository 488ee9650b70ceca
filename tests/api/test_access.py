"""Who may do what: every call for every role. A new endpoint fails here until somebody says who may call it."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.authtoken.models import Token
from rest_framework.response import Response
from rest_framework.test import APIClient

from ml_models.api import access
from ml_models.api.access import Nobody
from ml_models.api.base import FaceView
from ml_models.models import Reference, Subject

pytestmark = pytest.mark.django_db

OPEN, ANYBODY = "open", "any account"
# call → the permission that opens it; OPEN asks for no account
CALLS: dict[tuple[str, str], str] = {
    ("enroll", "POST"): "enroll_subject",
    ("verify", "POST"): "verify_subject",
    ("challenges", "POST"): "verify_subject",
    ("subject", "GET"): "read_subject",
    ("subject", "DELETE"): "erase_subject",
    ("reference", "DELETE"): "erase_subject",
    ("release", "POST"): "release_subject",
    ("identify", "POST"): "identify_subject",
    ("group", "GET"): "read_group",
    ("group", "PUT"): "write_group",
    ("group", "PATCH"): "write_group",
    ("group", "DELETE"): "erase_group",
    ("quality", "POST"): ANYBODY,
    ("config", "GET"): ANYBODY,
    ("configs", "GET"): "view_ensembleconfig",
    ("validate", "POST"): "validate_config",
    ("activate", "POST"): "activate_config",
    ("rollback", "POST"): "rollback_config",
    ("rollout", "GET"): "view_rollout",
    ("pause", "POST"): "control_rollout",
    ("resume", "POST"): "control_rollout",
    ("abort", "POST"): "control_rollout",
    ("go", "POST"): "control_rollout",
    ("metrics", "GET"): "view_servingprocess",
    ("healthz", "GET"): OPEN,
    ("readyz", "GET"): OPEN,
}
OF_A_SUBJECT = ("enroll", "verify", "identify", "challenges", "subject", "reference", "release")
# what `self_service` lets people do with their own
OWN = [("verify", "POST"), ("challenges", "POST"), ("subject", "GET")]
PERMISSIONS = sorted({needed for needed in CALLS.values() if needed not in (OPEN, ANYBODY)})
ROLES = [
    "nobody",
    "a wrong token",
    "a closed account",
    "a person",
    "the person themself",
    *PERMISSIONS,
    "an administrator",
]


def patterns(resolver: URLResolver, path: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = path + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, route)
        else:
            yield route, entry


def ours() -> dict[str, tuple[str, type[FaceView]]]:
    """Route name → path and view of every endpoint whose view the app defines."""
    return {
        str(entry.name): (path, view)
        for path, entry in patterns(get_resolver())
        if (view := getattr(entry.callback, "view_class", None)) and view.__module__.startswith("ml_models.")
    }


def methods(view: type[FaceView]) -> set[str]:
    return {name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(view, name)}


def test_every_call_says_who_may_make_it() -> None:
    assert {(name, method) for name, (_, view) in ours().items() for method in methods(view)} == set(CALLS)


def test_every_view_declares_its_permission_itself() -> None:
    for name, (_, view) in ours().items():
        assert issubclass(view, FaceView), name
        assert view.permission_classes != FaceView.permission_classes, name


def test_a_view_that_declares_nothing_lets_nobody_in(admin_user: Any, rf: Any) -> None:
    class Forgotten(FaceView):
        def get(self, request: Any) -> Response:
            return Response()

    assert FaceView.permission_classes == [Nobody]
    request = rf.get("/")
    request.user = request._force_auth_user = admin_user
    assert Forgotten.as_view()(request).status_code == 403


@pytest.fixture
def reference(user: Any) -> Reference:
    return Reference.objects.create(
        subject=Subject.objects.create(subject_id=str(user.pk)), chip=b"", quality={"score": 0.5}
    )


def client(role: str, user: Any, grant: Any, django_user_model: Any) -> APIClient:
    made = APIClient()
    if role == "nobody":
        return made
    if role == "a wrong token":
        made.credentials(HTTP_AUTHORIZATION="Token 0123456789")
        return made
    if role == "the person themself":
        made.force_authenticate(user)
        return made
    other = django_user_model.objects.create_user("other", is_superuser=role == "an administrator")
    made.force_authenticate(grant(other, role) if role in PERMISSIONS else other)
    if role == "a closed account":
        other.is_active = False
        other.save()
        made = APIClient(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=other).key}")
    return made


def call(made: APIClient, name: str, method: str, subject_id: str, reference_id: uuid.UUID) -> Any:
    values = {
        "<subject_id:subject_id>": subject_id,
        "<subject_id:group_id>": "bus/7",
        "<any_uuid:reference_id>": str(reference_id),
    }
    path = "/" + ours()[name][0]
    for key, value in {**values, "<any_uuid:rollout_id>": str(uuid.uuid4()), "<int:version>": "99"}.items():
        path = path.replace(key, value)
    # complete, so that a refusal is about the caller; a caller who gets further is told that this is no picture
    body = {"subject_id": subject_id, "image": "bm8gcGljdHVyZQ==", "purpose": "verify"} if method == "POST" else None
    return made.generic(method, path, json.dumps(body) if body else "", "application/json")


def expected(role: str, name: str, needed: str) -> int:
    """401, 403, or 0: the caller gets in, whatever comes then."""
    if needed == OPEN:
        return 0
    if role in ("nobody", "a wrong token", "a closed account"):
        return 401
    return 0 if needed == ANYBODY or role in (needed, "an administrator") else 403


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("name", "method"), list(CALLS), ids=lambda value: value)
def test_each_role_gets_into_the_calls_that_are_its_own(
    role: str, name: str, method: str, user: Any, grant: Any, django_user_model: Any, reference: Reference
) -> None:
    made = client(role, user, grant, django_user_model)
    wanted = expected(role, name, CALLS[name, method])

    response = call(made, name, method, str(user.pk), reference.pk)

    assert (response.status_code if response.status_code in (401, 403) else 0) == wanted
    if wanted:
        code = {401: "not_authenticated", 403: "forbidden"}[wanted]
        assert (response["Content-Type"], response.json()["code"]) == ("application/problem+json", code)
        if wanted == 403:
            needed = CALLS[name, method]
            assert response.json()["right"] == f"ml_models.{needed}"
            assert needed in response.json()["detail"]
        assert Reference.objects.count() == 1
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("name", "method"), [key for key in CALLS if key[0] in OF_A_SUBJECT], ids=lambda value: value)
def test_a_refusal_does_not_tell_whether_the_subject_exists(
    name: str, method: str, user: Any, django_user_model: Any, reference: Reference
) -> None:
    stranger = APIClient()
    stranger.force_authenticate(django_user_model.objects.create_user("stranger"))
    known = call(stranger, name, method, str(user.pk), reference.pk)
    unknown = call(stranger, name, method, "no-such-subject", uuid.uuid4())
    assert known.headers.pop("X-Request-ID") != unknown.headers.pop("X-Request-ID")  # each request's own
    assert (known.status_code, known.json(), known.headers) == (403, unknown.json(), unknown.headers)


@pytest.mark.parametrize(("name", "method"), [key for key in CALLS if key[0] in OF_A_SUBJECT], ids=lambda value: value)
def test_people_are_let_at_their_own_only_by_a_policy_that_the_host_names(
    name: str, method: str, user: Any, settings: Any, reference: Reference
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "SUBJECT_POLICY": "ml_models.api.access.self_service"}
    caller = APIClient()
    caller.force_authenticate(user)
    own = call(caller, name, method, str(user.pk), reference.pk).status_code
    assert (own != 403) == ((name, method) in OWN)
    assert call(caller, name, method, "somebody-else", uuid.uuid4()).status_code == 403


def everything(user: Any, action: str, subject_id: str) -> bool:
    """A careless host's policy."""
    return True


def test_no_policy_lets_a_guesser_lift_the_lock(user: Any, grant: Any, settings: Any, reference: Reference) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "SUBJECT_POLICY": f"{__name__}.everything"}
    caller = APIClient()
    caller.force_authenticate(user)
    assert call(caller, "release", "POST", str(user.pk), reference.pk).status_code == 403
    caller.force_authenticate(grant(user, "release_subject"))
    assert call(caller, "release", "POST", str(user.pk), reference.pk).status_code == 200
    settings.ML_MODELS = {**settings.ML_MODELS, "SUBJECT_POLICY": f"{__name__}.by_school"}
    assert call(caller, "release", "POST", str(user.pk), reference.pk).status_code == 403


def by_school(user: Any, action: str, subject_id: str) -> bool:
    """A host's own policy: one school's kiosk, verifying only."""
    return action == "verify" and subject_id.startswith(f"{user.username}/")


def test_the_host_can_bring_its_own_policy(user: Any, settings: Any) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "SUBJECT_POLICY": f"{__name__}.by_school"}
    caller = APIClient()
    caller.force_authenticate(user)
    asked = [("verify", "parent/7"), ("verify", "elsewhere/7"), ("enroll", "parent/7"), ("verify", str(user.pk))]
    answers = [call(caller, name, "POST", subject_id, uuid.uuid4()).status_code for name, subject_id in asked]
    assert answers[0] not in (401, 403)
    assert answers[1:] == [403, 403, 403]


def truthy(user: Any, action: str, host_id: str) -> Any:
    """As an async policy's answer is, or a row's that was found."""
    return object()


@pytest.mark.parametrize("setting", ["SUBJECT_POLICY", "GROUP_POLICY"])
def test_a_policy_that_does_not_answer_true_lets_nobody_in(user: Any, grant: Any, settings: Any, setting: str) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, setting: f"{__name__}.truthy"}
    caller = APIClient()
    caller.force_authenticate(user)
    face = "/api/v1/face"
    several = {"subject_id": ["child-1", "child-2"], "image": "AAAA"}
    answers = [
        caller.get(f"{face}/subjects/child-1"),
        caller.get(f"{face}/groups/bus-1"),
        caller.post(f"{face}/identify", several, format="json"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert not access.sees_candidate(grant(user, "view_candidates"), "child-1")


@pytest.mark.parametrize("path", ["%00", "%20", "x" * 201, "%ff", "a%2Fb", "a/b", "..%2Fconfig", "ü"])
def test_any_subject_id_in_an_address_is_answered(service: APIClient, path: str) -> None:
    response = service.get(f"/api/v1/face/subjects/{path}")
    assert (response.status_code, response.json()["code"]) in [(404, "not_found"), (400, "invalid_request")]


def test_a_subject_whose_id_has_a_slash_can_be_erased(service: APIClient) -> None:
    Subject.objects.create(subject_id="school/7")
    assert service.delete("/api/v1/face/subjects/school%2F7").status_code == 200
    assert not Subject.objects.exists()
