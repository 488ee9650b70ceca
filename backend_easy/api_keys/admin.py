from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_permission_codename, get_user_model
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from rest_framework.authtoken.models import TokenProxy
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminTextInputWidget

from ml_models.admin.base import Asked, OwnPages, panel_caller
from ml_models.services import audit

from .models import DAYS, ApiKey

# DRF's page shows every account's token, and makes one for whomever. Tokens are made by drf_create_token
admin.site.unregister(TokenProxy)
# Django's own pages of accounts have no borders around their fields in the theme, and no button that adds
admin.site.unregister([User, Group])
admin.site.empty_value_display = "–"


def _readable(rows: list[Any]) -> list[Any]:
    """What a deletion takes with it, without a number for each right that an account or a role has."""
    nested = [_readable(row) if isinstance(row, list) else row for row in rows]
    return [row for row in nested if row and " relationship: " not in str(row)]


# by how the name of a page's address ends, the right that the page takes
_TAKES = {"changelist": "view", "history": "view", "add": "add", "delete": "delete", "password_change": "change"}


class _Accounts(OwnPages):
    """A refusal names the right. The event of each key that is deleted, by itself or with its account, names who did
    it."""

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = super().get_urls()
        for url in urls:
            name = (url.name or "").removeprefix(f"{self.opts.app_label}_{self.opts.model_name}_")
            url.callback = self._naming(url.callback, name)
        return urls

    def _naming(self, page: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(page)
        def answered(request: HttpRequest, *args: Any, **named: Any) -> Any:
            try:
                return page(request, *args, **named)
            except PermissionDenied:
                action = _TAKES.get(name, "change" if request.method == "POST" else "view")
                return self.lacks(request, f"{self.opts.app_label}.{get_permission_codename(action, self.opts)}")

        return answered

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        deleted, *more = super().get_deleted_objects(objs, request)
        return _readable(deleted), *more

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        obj.deleted_by = panel_caller(request)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        queryset.deleted_by = panel_caller(request)
        super().delete_queryset(request, queryset)


@admin.register(User)
class AccountAdmin(_Accounts, UserAdmin, ModelAdmin):
    list_display = ["username", "roles", "is_staff", "is_active", "last_login"]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="groups")
    def roles(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all()) or "–"


@admin.register(Group)
class RoleAdmin(_Accounts, GroupAdmin, ModelAdmin):
    pass


def _beyond(maker: Any, user: Any) -> str:
    """Why `maker` may not act for `user` by a key; empty where every right of the account is theirs, too."""
    if not user.is_active:  # its rights are counted as none, and may be opened again
        return "This account is closed."
    if maker.is_superuser:
        return ""
    more = user.get_all_permissions() - maker.get_all_permissions()
    if user.is_superuser or more:
        return "This account has rights that you do not have. Ask somebody who has them to make the key."
    return ""


@admin.register(ApiKey)
class ApiKeyAdmin(_Accounts, ModelAdmin):
    """Keys are made, revoked and deleted, never changed."""

    list_display = ["name", "prefix", "user", "created_at", "expires_at", "revoked_at"]
    list_select_related = ["user"]
    search_fields = ["name", "prefix", "user__username"]
    actions = ["revoke"]
    change_form_template = "admin/ml_models/change_form.html"

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        made = ["prefix", "created_at", "revoked_at"] if obj else []
        return ["name", "user", "expires_at", *made]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return False  # there is no filter, and the digest is not to be asked for

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name != "user":
            return super().formfield_for_dbfield(db_field, request, **kwargs)
        # typed: the theme's field that searches has no name for a screen reader, and a list would be as long as there
        # are accounts
        accounts = get_user_model()
        return forms.ModelChoiceField(
            accounts._default_manager.all(),
            to_field_name=accounts.USERNAME_FIELD,
            label="User name",
            widget=UnfoldAdminTextInputWidget,
            help_text=db_field.help_text,
            error_messages={"invalid_choice": "No account has this name."},
        )

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        class Form(super().get_form(request, obj, change, **kwargs)):  # type: ignore[misc]
            def clean_user(self) -> Any:
                user = self.cleaned_data["user"]
                if reason := _beyond(request.user, user):
                    audit.record(audit.Kind.MAKE_KEY, panel_caller(request), code="forbidden", account=str(user.pk))
                    raise forms.ValidationError(reason)
                return user

        return Form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"expires_at": timezone.now() + timedelta(days=DAYS), **super().get_changeform_initial_data(request)}

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        made, text = ApiKey.objects.issue(obj.user, obj.name, panel_caller(request), expires_at=obj.expires_at)
        obj.pk, obj.prefix = made.pk, made.prefix
        messages.warning(request, f"The key, shown this once: {text}")

    def get_urls(self) -> list[URLPattern]:
        revoke = self.admin_site.admin_view(self._revoke)
        return [path("<path:object_id>/revoke/", revoke, name="api_keys_apikey_revoke"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        key = context["original"]
        if key and not key.revoked_at and self.has_delete_permission(request, key):
            at = reverse("admin:api_keys_apikey_revoke", args=[key.pk])
            context["buttons"] = [{"url": at, "label": "Revoke", "danger": True, "asks": True}]
        return super().render_change_form(request, context, *args, **kwargs)

    def _revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asked for by GET, done by POST."""
        key = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404
        if not self.has_delete_permission(request, key):
            return self.lacks(request, "api_keys.delete_apikey")
        page = reverse("admin:api_keys_apikey_change", args=[key.pk])
        if request.method == "POST" and ApiKey.objects.revoke(key.prefix, panel_caller(request)):
            messages.success(request, "Revoked: nobody gets in with it any more.")
        if request.method == "POST" or key.revoked_at:
            return HttpResponseRedirect(page)
        facts = [("Prefix", key.prefix), ("Account", key.user.get_username())]
        asked = Asked("It ends at once and for good. Its row stays, so that the audit trail says whose it was.", facts)
        title, danger = f"Revoke “{key.name}”", {"danger": True}
        return self.answer(request, "confirm", title=title, asked=asked, label="Revoke", button=danger, back=page)

    @admin.action(description="Revoke", permissions=["delete"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        prefixes = queryset.values_list("prefix", flat=True)
        count = sum(ApiKey.objects.revoke(prefix, panel_caller(request)) for prefix in prefixes)
        messages.success(request, f"{count} revoked.")
