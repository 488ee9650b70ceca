"""Groups and their sizes. Who is in one is the host's to keep and to show."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from ml_models.models import Group, Membership

from .base import Panel


@admin.register(Group)
class GroupAdmin(Panel):
    list_display = ["group_id", "members", "created_at"]
    search_fields = ["group_id__exact"]
    search_help_text = "the host's whole group id"
    ordering = ["-created_at"]
    sortable_by = ["group_id", "created_at"]
    fields = ["id", "group_id", "created_at", "members"]
    readonly_fields = ["members"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        # of the rows on the page alone: a join would group everybody first
        memberships = Membership.objects.filter(group=OuterRef("pk")).order_by().values("group")
        count = Subquery(memberships.annotate(count=Count("pk")).values("count"))
        return super().get_queryset(request).annotate(count=count)

    @admin.display(description="members")
    def members(self, group: Group) -> int:
        return int(group.count or 0)  # type: ignore[attr-defined]
