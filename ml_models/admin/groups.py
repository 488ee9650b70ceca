"""Groups and their sizes, and who may be in one twice. Who is in one is the host's to keep and to show."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from ml_models.models import DuplicateSearch, Group, Membership
from ml_models.services import duplicate_searches, overview
from ml_models.services.mixups import MOST_PAIRS

from .base import Asked, Button, Done, panel_caller
from .display import words
from .finding import FindingPanel

SEES_PAIRS = ("ml_models.view_candidates", "ml_models.view_subject")


def _look(group: Group, request: HttpRequest) -> Done:
    duplicate_searches.ask(panel_caller(request), group)
    # the queue is not asked: while it is silent, whoever pressed the button would wait for it
    if overview.health().jobs_run:
        return Done("A worker begins within seconds to compare the members. This page shows what it finds.")
    return Done(
        "Noted, but nothing begins now: the jobs of beat are not being done. The search begins once beat, the "
        "queue and a worker run again."
    )


def _ask_look(group: Group) -> Asked:
    return Asked(
        "Every member's references are compared with everybody else's, under the active version. It changes nobody; a "
        "worker takes about a minute for 2,000 members.",
        [("Members", str(group.memberships.count()))],
        title=f"Look for duplicates in {group.group_id}",
    )


@admin.register(Group)
class GroupAdmin(FindingPanel):
    nothing = "There is no group. The host makes them, by PUT groups/{id}."
    list_display = ["group_id", "members", "created_at"]
    what = "group"
    finding_takes = "ml_models.view_group"
    ordering = ["-created_at"]
    sortable_by = ["group_id", "created_at"]
    fields = ["id", "group_id", "created_at", "members"]
    readonly_fields = ["members"]
    change_form_template = "admin/ml_models/group.html"
    buttons = (
        Button("duplicates", "Look for duplicates", "ml_models.find_duplicates", _look, lambda group: True, _ask_look),
    )

    def found(self, sought: str) -> str | None:
        group = Group.objects.filter(group_id=sought).only("pk").first()
        return self.url("change", group.pk) if group else None

    def page(self, request: HttpRequest, obj: Group) -> dict[str, Any]:
        search = DuplicateSearch.objects.filter(pk=obj.pk).first()
        pairs = list(search.pairs.select_related("first", "second")) if search else []
        failed = words(search.code) if search else ""
        return {
            "search": search,
            "failed": failed,
            "pairs": pairs,
            "sees_pairs": request.user.has_perms(SEES_PAIRS),
            "full": len(pairs) >= MOST_PAIRS,
        }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        # of the rows on the page alone: a join would group everybody first
        memberships = Membership.objects.filter(group=OuterRef("pk")).order_by().values("group")
        count = Subquery(memberships.annotate(count=Count("pk")).values("count"))
        return super().get_queryset(request).annotate(count=count)

    @admin.display(description="members")
    def members(self, group: Group) -> int:
        return int(group.count or 0)  # type: ignore[attr-defined]
