"""The sidebar of the admin: what an operator works with first, accounts last."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

_OVERVIEW = "admin:ml_models_overview"
# (title, rows of (app, model, name, Material symbol)); a name behind the model is a page of its own
_GROUPS = (
    (
        "Versions",
        (
            ("ml_models", "ensembleconfig", "Versions", "layers"),
            ("ml_models", "rollout", "Rollouts", "published_with_changes"),
            ("ml_models", "rolloutfailure", "To enrol again", "person_alert"),
            ("ml_models", "evaluationreport", "Evaluation reports", "monitoring"),
            ("ml_models", "studyjob", "Studies", "science"),
            ("ml_models", "artifact", "Artifacts", "deployed_code"),
            ("ml_models", "servingprocess", "Serving processes", "memory"),
        ),
    ),
    (
        "People",
        (
            ("ml_models", "subject", "Subjects", "groups"),
            ("ml_models", "reference", "References", "familiar_face_and_zone"),
            ("ml_models", "verification", "Verifications", "fact_check"),
            ("ml_models", "verification_traffic", "Live traffic", "bar_chart"),
            ("ml_models", "identification", "Identifications", "person_search"),
            ("ml_models", "auditevent_timeline", "Timeline", "history"),
            ("ml_models", "auditevent", "Audit events", "receipt_long"),
            ("ml_models", "erasure", "Erasures", "delete_sweep"),
            ("ml_models", "group", "Groups", "directions_bus"),
            ("ml_models", "credentialcount", "Credentials", "shield_person"),
        ),
    ),
    (
        "Accounts",
        (
            ("auth", "user", "Users", "person"),
            ("auth", "group", "Roles", "group"),
            ("api_keys", "apikey", "API keys", "key"),
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """`UNFOLD["SIDEBAR"]["navigation"]`: the overview, then groups with what the user may see of them."""
    overview = {"title": "Overview", "icon": "dashboard", "link": reverse(_OVERVIEW)}
    groups = [{"title": title, "separator": True, "items": _items(request, rows)} for title, rows in _GROUPS]
    return [{"title": None, "items": [overview]}, *groups]


def _items(request: HttpRequest, rows: tuple[tuple[str, str, str, str], ...]) -> list[dict[str, Any]]:
    return [
        {"title": name, "icon": icon, "link": link, "active": _is_at(request.path, link)}
        for app, what, name, icon in rows
        for model, _, page in [what.partition("_")]
        for link in [reverse(f"admin:{app}_{model}_{page or 'changelist'}")]
        if request.user.has_perm(f"{app}.view_{model}")
    ]


def _is_at(path: str, link: str) -> bool:
    """Whether a page belongs to this row: not where it has a row of its own, below the list's address."""
    return path.startswith(link) and (path == link or path not in _own_pages())


def _own_pages() -> set[str]:
    rows = [(app, what) for _, rows in _GROUPS for app, what, _, _ in rows if "_" in what]
    return {reverse(f"admin:{app}_{what}") for app, what in rows} | {reverse(_OVERVIEW)}


def icon(request: HttpRequest) -> str:
    return static("ml_models/icon.svg")


def styles(request: HttpRequest) -> str:
    """On the pages of accounts and keys, too, which are not the app's."""
    return static("ml_models/panel.css")


def scripts(request: HttpRequest) -> str:
    return static("ml_models/panel.js")
