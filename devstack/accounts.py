"""The people of the development stack: an administrator, and a service user with an API token."""

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from rest_framework.authtoken.models import Token

from devstack.welcome import ADMIN

SERVICE = "demo-service"
# everything but overriding a reference that does not match: that is for a person to decide
PERMISSIONS = [
    "enroll_subject",
    "verify_subject",
    "read_subject",
    "erase_subject",
    "view_scores",
    "validate_config",
    "activate_config",
    "rollback_config",
]


def ensure_accounts(admin_password: str) -> str:
    """Create what is missing, change nothing that is there, and return the service user's token."""
    users = get_user_model()._default_manager
    if not users.filter(username=ADMIN).exists():
        get_user_model().objects.create_superuser(ADMIN, password=admin_password)
    service, created = users.get_or_create(username=SERVICE)
    if created:
        service.set_unusable_password()
        service.save()
    granted = Permission.objects.filter(content_type__app_label="ml_models", codename__in=PERMISSIONS)
    service.user_permissions.add(*granted)
    return str(Token.objects.get_or_create(user=service)[0].key)
