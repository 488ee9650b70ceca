"""How the shop does REST; none of it is what ml_models would choose."""

from typing import Any

from people.models import Person
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response


class DenyAll(BasePermission):
    """Deny by default."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return False


class GatewayAuthentication(BaseAuthentication):
    """A gateway in front has authenticated the caller."""

    def authenticate(self, request: Request) -> tuple[Person, None] | None:
        person = Person.objects.filter(email=request.headers.get("X-Person", "")).first()
        return (person, None) if person else None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    return Response({"shop_error": str(error)}, status=418)


def policy(user: Any, action: str, subject_id: str) -> bool:
    """People may verify themselves; the till enrolls and verifies its own customers."""
    return subject_id == str(user.pk) if action != "enroll" else user.email == "till@shop.example"
