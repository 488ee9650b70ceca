"""Lists about people or groups, narrowed by the host's id of one. The id comes in a body: addresses stay in access logs
and browsers, so the answer's address names a row of ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from ml_models.models import Subject
from ml_models.services import subject_ids
from ml_models.services.erasure import erasures

from .base import Panel

_WHOLE = "The host's whole {} id"


class FindingPanel(Panel):
    """A list with a field for a host's id above it, for holders of `finding_takes`."""

    what = "subject"
    finding_takes = "ml_models.view_subject"

    def found(self, sought: str) -> str | None:
        """The address that shows what has this host's id; None where nothing has it. It does not name the id."""
        subject = Subject.objects.filter(subject_id=sought).only("pk").first()
        return self.of(subject) if subject else None

    def of(self, subject: Subject) -> str:
        return f"{self.url('changelist')}?subject={subject.pk}"

    def get_urls(self) -> list[URLPattern]:
        finds = path("find/", self.view(partial(_find, self)), name=f"ml_models_{self.opts.model_name}_find")
        return [finds, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        finder = self.finder() if request.user.has_perm(self.finding_takes) else {}
        return super().changelist_view(request, {**finder, **(extra_context or {})})

    def finder(self) -> dict[str, str]:
        """What `finder.html` takes."""
        return {"find_at": self.url("find"), "find_what": _WHOLE.format(self.what)}


def subjects_finder() -> dict[str, str]:
    """The field that leads to a person's page, for a page that is no list."""
    return {"find_at": reverse("admin:ml_models_subject_find"), "find_what": _WHOLE.format("subject")}


def _find(panel: FindingPanel, request: HttpRequest) -> HttpResponse:
    """Go to what has this id; else say that nothing has it. Who may see erasures learns whether it was erased."""
    if not request.user.has_perm(panel.finding_takes):
        return panel.lacks(request, panel.finding_takes)
    sought = request.POST.get("sought", "").strip()
    trouble = subject_ids.trouble(sought, panel.what) if sought else None
    asked = bool(sought) and not trouble
    if asked and (where := panel.found(sought)):
        return HttpResponseRedirect(where)
    told = asked and panel.what == "subject" and request.user.has_perm("ml_models.view_erasure")
    return panel.answer(
        request,
        "find",
        title=f"Find a {panel.what}",
        what=panel.what,
        sought=sought,
        trouble=trouble,
        tells_erasures=told,
        erasures=erasures(sought) if told else (),
        **panel.finder(),
    )


def exactly(field: str) -> type[SimpleListFilter]:
    """A filter by the one value that a link brought, shown while it is on."""

    class Exactly(SimpleListFilter):
        title = field.replace("_id", "")
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
            return [(value, "the one looked for")] if (value := self.value()) else []

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            try:
                return queryset.filter(**{field: self.value()}) if self.value() else queryset
            except ValidationError:  # no primary key
                return queryset.none()

    return Exactly
