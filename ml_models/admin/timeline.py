"""Who did what: the audit events of deeds and the steps of versions, as one list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from ml_models.models import AuditEvent, ConfigStep
from ml_models.services.rights import FLAGS

from .base import Panel
from .display import words

_ROWS = 50
# digits, no more than a key of the database has
_KEY = re.compile(r"[0-9]{1,18}")
# of a role's rights, so many stand in the list; the event's page has all
_GIVEN = 4
Kind = AuditEvent.Kind
_OF_AN_ACCOUNT = (Kind.MAKE_ACCOUNT, Kind.CHANGE_ACCOUNT, Kind.DELETE_ACCOUNT)
# attempts have lists of their own; a version's steps tell more of it than the event does
_ELSEWHERE = (Kind.VERIFY, Kind.IDENTIFY, Kind.OPEN_ROLLOUT, Kind.ACTIVATE)


@dataclass(frozen=True, slots=True)
class Deed:
    at: datetime
    who: str
    what: str
    link: str


def page(panel: Panel, request: HttpRequest) -> HttpResponse:
    """The newest deeds, or those before the ones that the address names."""
    events = AuditEvent.objects.exclude(kind__in=_ELSEWHERE).order_by("-pk")
    steps = ConfigStep.objects.select_related("config", "by").order_by("-pk")
    newest = sorted(
        [*_before(events, request.GET.get("event")), *_before(steps, request.GET.get("step"))],
        key=lambda row: row.at,
        reverse=True,
    )
    shown = newest[:_ROWS]
    events_shown = [row for row in shown if isinstance(row, AuditEvent)]
    named = names(pk for event in events_shown for pk in (event.caller, event.facts.get("account", "")))
    return panel.answer(
        request,
        "timeline",
        title="Timeline",
        deeds=[_of_event(row, named) if isinstance(row, AuditEvent) else _of_step(row) for row in shown],
        older=_older(request, shown) if len(newest) > _ROWS else "",
    )


def _before(rows: Any, pk: str | None) -> Iterable[Any]:
    # one more than a page has, to know whether there are older ones
    return (rows.filter(pk__lt=int(pk)) if pk and _KEY.fullmatch(pk) else rows)[: _ROWS + 1]


def _older(request: HttpRequest, shown: list[Any]) -> str:
    """Where the next page begins: before the oldest row of each kind that was shown."""
    query = request.GET.copy()
    for name, kind in (("event", AuditEvent), ("step", ConfigStep)):
        if pks := [row.pk for row in shown if isinstance(row, kind)]:
            query[name] = str(min(pks))
    return f"?{query.urlencode()}"


def names(callers: Iterable[str]) -> dict[str, str]:
    """Accounts by primary key; an event keeps no more of one."""
    accounts = get_user_model()._default_manager.filter(pk__in={pk for pk in callers if pk.isdigit()})
    return {str(account.pk): account.get_username() for account in accounts}


def account(event: AuditEvent, names: Mapping[str, str]) -> str:
    if event.caller == "self":
        return "the subject"
    return names.get(event.caller) or (f"account {event.caller}" if event.caller else "a command")


def _of_event(event: AuditEvent, names: Mapping[str, str]) -> Deed:
    credential = f" ({event.credential_id})" if event.credential_id else ""
    outcome = f": {words(event.code)}" if event.code else ""
    link = reverse("admin:ml_models_auditevent_change", args=[event.pk])
    return Deed(event.at, f"{account(event, names)}{credential}", f"{_what(event, names)}{outcome}", link)


def _what(event: AuditEvent, names: Mapping[str, str]) -> str:
    """The deed, of which key, account or role, and what was given, taken or changed."""
    facts = event.facts
    owner = facts.get("account", "")
    account = names.get(owner) or (owner if event.kind in _OF_AN_ACCOUNT else f"account {owner}")
    whose = owner and (account if event.kind in _OF_AN_ACCOUNT else f"for {account}")
    of = [facts.get("key") or facts.get("credential", ""), facts.get("role", ""), whose]
    given = [*facts.get("roles", ()), *facts.get("rights", ())]
    given += [("" if facts[name] else "not ") + name.removeprefix("is_") for name in FLAGS if name in facts]
    given += [f"{name} {facts[name]}" for name in ("password", "name") if name in facts]
    more = f" and {len(given) - _GIVEN} more" if len(given) > _GIVEN else ""
    told = f": {', '.join(given[:_GIVEN])}{more}" if given else ""
    return " ".join([words(event.kind), *filter(None, of)]) + told


def _of_step(step: ConfigStep) -> Deed:
    reason = f": {step.reason}" if step.reason else ""
    link = reverse("admin:ml_models_ensembleconfig_change", args=[step.config_id])
    return Deed(step.at, str(step.by or "a command"), f"{step.config} {step}{reason}", link)
