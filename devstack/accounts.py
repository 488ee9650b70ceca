"""The people of the development stack: an administrator, and a service user with an API key."""

from datetime import timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from backend_easy.api_keys.models import ApiKey
from devstack.welcome import ADMIN

SERVICE = "demo-service"
KEY_DAYS = 90
# everything but overriding a reference that does not match: that is for a person to decide
PERMISSIONS = [
    "enroll_subject",
    "verify_subject",
    "identify_subject",
    "read_subject",
    "erase_subject",
    "read_group",
    "write_group",
    "erase_group",
    "identify_group",
    "enroll_group",
    "view_candidates",
    "view_scores",
    "validate_config",
    "activate_config",
    "rollback_config",
]


def ensure_accounts(admin_password: str, known_key: str = "") -> str:
    """Create what is missing, change nothing that is there, and return an API key of the service user: the known one
    while it holds, since only its digest is stored."""
    users = get_user_model()._default_manager
    if not users.filter(username=ADMIN).exists():
        get_user_model().objects.create_superuser(ADMIN, password=admin_password)
    service, created = users.get_or_create(username=SERVICE)
    if created:
        service.set_unusable_password()
        service.save()
    granted = Permission.objects.filter(content_type__app_label="ml_models", codename__in=PERMISSIONS)
    service.user_permissions.add(*granted)
    if ApiKey.objects.find(known_key):
        return known_key
    return ApiKey.objects.issue(service, "development", expires_at=timezone.now() + timedelta(days=KEY_DAYS))[1]
