"""What a page does not show is not to be asked for in its address, one bit at a time."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client

from ml_models.admin.base import Panel
from ml_models.models import EnsembleConfig, Verification
from tests.support.panel import page

pytestmark = pytest.mark.django_db

PANELS = [(model, panel) for model, panel in admin.site._registry.items() if isinstance(panel, Panel)]
ASKED = [
    "score__gte",
    "score",
    "score__isnull",
    "score__range",
    "threshold__lt",
    "similarities__arcface_int8__gte",
    "similarities__contains",
    "pk__in",
    "config__verifications__score__gte",
    "config__voter_sets__contains",
    "subject__verifications__score__gte",
    "caller__password__startswith",
    "shadowscore__score__gte",
    "shadows__score__gte",
    "shadows__verification__score__gte",
    "_ml_models_shadowscore_verification_+__score__gte",
    "decision__score__gte",
    "at__score__gte",
]


@pytest.fixture
def row(served: EnsembleConfig) -> Verification:
    return Verification.objects.create(config=served, decision="match", score=3.25, threshold=2.0)


@pytest.fixture
def viewer(staff: Callable[..., Client]) -> Client:
    return staff(*(f"view_{model._meta.model_name}" for model, _ in PANELS))


@pytest.mark.parametrize("lookup", ASKED)
def test_a_score_cannot_be_asked_for_in_the_address(viewer: Client, row: Verification, lookup: str) -> None:
    for value in ("0", "4"):
        for more in ({}, {"_facets": "True"}):
            answer = viewer.get(page("verification", "changelist"), {lookup: value, **more})
            assert answer.status_code == 400


@pytest.mark.parametrize(("model", "panel"), PANELS, ids=[model.__name__ for model, _ in PANELS])
def test_no_page_filters_by_a_field_without_a_filter(viewer: Client, model: type[Model], panel: Panel) -> None:
    """Nor by what a filtered field's other end holds."""
    filtered = panel.filtered()
    fields = {field.name for field in model._meta.get_fields()} - filtered
    ends = {f"{name}__{end.name}" for name in filtered for end in _other_end(model, str(name)) if end.name != "id"}
    for name in fields | ends:
        for lookup in (name, f"{name}__gte", f"{name}__startswith", f"{name}__isnull"):
            assert not panel.lookup_allowed(lookup, "1", None), lookup
    assert viewer.get(page(str(model._meta.model_name), "changelist")).status_code == 200


def _other_end(model: type[Model], name: str) -> list[Any]:
    relations = {field.name: field.related_model for field in model._meta.get_fields()}
    related = relations.get(name)  # a filter of our own may have any name
    return list(related._meta.get_fields()) if related else []


def test_scores_give_no_order_and_are_not_searched(viewer: Client, staff: Callable[..., Client], row: Any) -> None:
    Verification.objects.create(config=row.config, decision="match", score=1.0, threshold=2.0)
    url = page("verification", "changelist")
    hidden = viewer.get(url).context["cl"]
    assert not {"score", "scored", "threshold", "similarities"} & set(hidden.list_display)
    for column in range(-12, 13):
        shown = viewer.get(url, {"o": str(column)}).context["cl"]
        assert "score" not in " ".join(map(str, shown.get_ordering(None, shown.queryset)))
    # nothing is: the list of one score is that of any other
    found = [list(viewer.get(url, {"q": text}).context["cl"].result_list) for text in ("3.25", "1", "9.9")]
    assert found[0] == found[1] == found[2]
    sees = staff("view_verification", "view_scores").get(url).context["cl"]
    assert "scored" in sees.list_display


def test_nothing_is_exported_and_no_date_is_drilled_into(row: Verification) -> None:
    for _, panel in PANELS:
        assert not panel.actions
        assert panel.date_hierarchy is None


@pytest.mark.parametrize("value", ["\0", "a\0b"])
def test_a_filter_by_what_no_row_can_have_is_a_bad_request(viewer: Client, value: str) -> None:
    for name, field in (("verification", "code"), ("rollout", "state"), ("servingprocess", "kind__exact")):
        assert viewer.get(page(name, "changelist"), {field: value}).status_code == 400


@pytest.mark.parametrize("key", ["²", "9" * 5000, "-1", "x", "\0"])
def test_a_page_of_the_timeline_that_is_none_is_the_first_one(staff: Callable[..., Client], key: str) -> None:
    url = page("auditevent", "timeline")
    for name in ("event", "step"):
        assert staff("view_auditevent").get(url, {name: key}).status_code == 200
