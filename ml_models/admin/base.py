"""What every page of the panel shares: read-only, no ciphertext read, notices, and buttons that ask first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any

from django.apps import apps
from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import Permission
from django.core.exceptions import BadRequest
from django.db import transaction
from django.db.models import BinaryField, Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from ml_models import tasks
from ml_models.engine.errors import EngineError
from ml_models.exceptions import ConfigInvalid, ServiceError
from ml_models.models import EnsembleConfig
from ml_models.services import Caller, audit
from ml_models.services.callers import of_panel
from ml_models.versions.evidence import Line as Requirement

from .comparison import Line
from .lists import BoundedPaginator
from .notices import notices

# the host chooses the theme; the pages look right in Django's own, too
if apps.is_installed("unfold"):
    from unfold.admin import ModelAdmin
else:
    from django.contrib.admin import ModelAdmin

# what an operator does next, where the error itself does not say it
_NEXT = {
    "artifact_missing": "Publish the file again with publish_model.",
    "artifact_corrupt": "Publish a good file as a new artifact, in a new version.",
    "bucket_unavailable": "The active version keeps answering. Look after the bucket and try again.",
    "config_invalid": "Correct the version's file and load it again, or clone the version; then validate it.",
    "inference_failed": "Publish a good file as a new artifact, in a new version.",
    "rollout_refused": "This page shows how things stand now.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A button's confirmation page: a sentence, facts with their values, checkboxes, text fields; for one version in
    place of another the evidence for it, and what `differences` there are between `versions`, the new one first."""

    says: str
    facts: Sequence[tuple[str, str]] = ()
    ticks: Sequence[tuple[str, str]] = ()
    texts: Sequence[tuple[str, str]] = ()
    title: str = ""
    """"" for the button's label and the row's name."""
    evidence: Sequence[Requirement] = ()
    versions: tuple[EnsembleConfig, EnsembleConfig | None] | None = None
    differences: Sequence[Line] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """The message after a button was pressed, and the page to open next; None stays."""

    says: str
    goes_to: str | None = None


@dataclass(frozen=True, slots=True)
class Button:
    """One deed on one row. Seen and done by holders of `permission` only, and only by POST."""

    name: str
    label: str | Callable[[Any], str]
    permission: str
    does: Callable[[Any, HttpRequest], Done]
    offered: Callable[[Any], bool]
    asks: Callable[[Any], Asked] | None = None
    """None for what costs nothing and can be undone: one click."""
    danger: bool = False
    quiet: bool = False
    """For a deed that is rare: it does not stand out."""
    kind: str = ""
    """The audit's, of a deed whose refusals leave events."""

    def labelled(self, obj: Any) -> str:
        return self.label if isinstance(self.label, str) else self.label(obj)


# what Django's filters put behind a field's name
_FILTERS = ("", "__exact", "__id__exact", "__gte", "__lt", "__isnull")


def panel_caller(request: HttpRequest) -> Caller:
    return of_panel(request.user)


class OwnPages(ModelAdmin):
    """Pages by this app's templates, one of them for refusals: it names the right that is missing."""

    def answer(self, request: HttpRequest, name: str, **context: Any) -> HttpResponse:
        """A page of its own, by its template's name."""
        shared = {"opts": self.opts, "media": self.media, "notices": notices()}
        whole = {**self.admin_site.each_context(request), **shared, **context}
        return TemplateResponse(request, f"admin/ml_models/{name}.html", whole)

    def lacks(self, request: HttpRequest, right: str) -> HttpResponse:
        """The answer to who has not got the right: its name, so that somebody can give it."""
        name = Permission.objects.filter(
            content_type__app_label=right.partition(".")[0], codename=right.partition(".")[2]
        ).values_list("name", flat=True)
        answer = self.answer(request, "forbidden", title="You may not do this", right=right, called=name.first())
        answer.status_code = 403
        return answer


class Panel(OwnPages):
    """Rows that nobody adds, changes or deletes here; `buttons` are the ways to act on one."""

    buttons: Sequence[Button] = ()
    nothing: str
    """What the list says while it has no row."""
    actions = None
    empty_value_display = "–"
    list_per_page = 50
    show_full_result_count = False
    # counts beside the filters would each read the table
    show_facets = ShowFacets.NEVER
    paginator = BoundedPaginator

    class Media:
        css = {"all": ["ml_models/panel.css"]}
        js = ["ml_models/panel.js"]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what the page's own filters ask for: any other field, a hidden one too, could be bisected from outside
        (`?score__gte=`), or through a relation of a filter's."""
        return any(lookup in {f"{name}{ending}" for ending in _FILTERS} for name in self.filtered())

    @classmethod
    def filtered(cls) -> set[str]:
        """The fields that the page's filters ask for."""
        return {name if isinstance(name, str) else name.parameter_name for name in cls.list_filter}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        secret = [field.name for field in self.opts.get_fields() if isinstance(field, BinaryField)]
        return super().get_queryset(request).defer(*secret)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm(f"ml_models.view_{self.opts.model_name}"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            return self.lacks(request, f"ml_models.view_{self.opts.model_name}")
        if any("\0" in value for values in dict(request.GET.lists()).values() for value in values):
            raise BadRequest("A filter asks for a NUL, which no row can have.")
        shown = {"notices": notices(), "nothing": self.nothing}
        return super().changelist_view(request, {**shown, **(extra_context or {})})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if object_id and not self.has_view_permission(request):
            return self.lacks(request, f"ml_models.view_{self.opts.model_name}")
        obj = self.get_object(request, unquote(object_id)) if object_id else None
        if obj is not None and self.has_view_permission(request, obj):
            # Django's own log knows of no deed here: who has a history of another kind says so
            shown = {"notices": notices(), "buttons": self._offered(request, obj), "show_history": False}
            more = {**shown, **self.page(request, obj)}
            extra_context = {**more, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, extra_context)

    def page(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """What this model's own page shows besides the fields."""
        return {}

    def url(self, name: str, *args: Any) -> str:
        return reverse(f"admin:ml_models_{self.opts.model_name}_{name}", args=args)

    def get_urls(self) -> list[URLPattern]:
        pressed = [
            path(
                f"<path:object_id>/{button.name}/",
                self.view(partial(self._press, button=button)),
                name=f"ml_models_{self.opts.model_name}_{button.name}",
            )
            for button in self.buttons
        ]
        return [*pressed, *super().get_urls()]

    def view(self, function: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        """A page of this panel: staff only, POST only with the token against forgery."""

        def wrapped(request: HttpRequest, **named: Any) -> HttpResponse:
            if not self.has_view_permission(request):
                return self.lacks(request, f"ml_models.view_{self.opts.model_name}")
            return function(request, **named)

        # as the REST views are: a button's work holds its own, short transactions
        return transaction.non_atomic_requests(update_wrapper(self.admin_site.admin_view(wrapped), wrapped))

    def require(self, request: HttpRequest, object_id: str) -> Any:
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404
        return obj

    def _offered(self, request: HttpRequest, obj: Model) -> list[dict[str, Any]]:
        return [
            {
                "url": self.url(button.name, obj.pk),
                "label": button.labelled(obj),
                "danger": button.danger,
                "quiet": button.quiet,
                "asks": button.asks is not None,
            }
            for button in self.buttons
            if request.user.has_perm(button.permission) and button.offered(obj)
        ]

    def _press(self, request: HttpRequest, object_id: str, button: Button) -> HttpResponse:
        if not request.user.has_perm(button.permission):
            if request.method == "POST" and button.kind:
                audit.record(button.kind, panel_caller(request), code="forbidden")
            return self.lacks(request, button.permission)
        obj = self.require(request, object_id)
        page = self.url("change", obj.pk)
        if request.method == "POST":
            return HttpResponseRedirect(self._do(request, obj, button) or page)
        if request.method != "GET" or button.asks is None:
            return HttpResponseNotAllowed(["GET", "POST"] if button.asks else ["POST"])
        if not button.offered(obj):
            messages.warning(request, f"“{button.labelled(obj)}” is not possible any more. {_NEXT['rollout_refused']}")
            return HttpResponseRedirect(page)
        asked, named = button.asks(obj), button.labelled(obj)
        title = asked.title or f"{named}: {obj}"
        return self.answer(request, "confirm", title=title, button=button, label=named, asked=asked, back=page)

    def _do(self, request: HttpRequest, obj: Model, button: Button) -> str | None:
        try:
            done = button.does(obj, request)
        except (ServiceError, EngineError) as error:
            refused(request, error)
            return None
        messages.success(request, done.says)
        return done.goes_to


def refused(request: HttpRequest, error: ServiceError | EngineError) -> None:
    """Every reason as a message of its own, then what to do next."""
    reasons = error.reasons if isinstance(error, ConfigInvalid) else [str(error)]
    for reason in reasons:
        messages.error(request, reason)
    if hint := _NEXT.get(error.code):
        messages.info(request, hint)


def tell_workers(request: HttpRequest, what: str) -> None:
    """Tell the workers of a rollout or a study that was begun, or the operator that they will hear of it later."""
    if not tasks.nudge():
        messages.warning(
            request,
            f"The task queue does not answer. Nothing is lost: the {what} goes on by itself within about a minute of "
            "the queue's return.",
        )
