"""Searches for one face under two names, asked for in the panel and made by a worker; `mixups.find` compares."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from ..engine.errors import EngineError
from ..exceptions import NotFound, ServiceError
from ..models import DuplicatePair, DuplicateSearch, Group, Subject, actor_id
from . import audit, mixups
from .callers import Caller
from .mixups import Pairs

# the largest group takes a worker about a minute
_LOST = timedelta(minutes=5)
_NOTHING = Pairs((), 0, 0, 0, 0, 0)


def ask(caller: Caller, group: Group) -> None:
    """Note that somebody wants a group searched; what an earlier search found goes.

    Raises:
        NotFound: the group was deleted.
    """
    with transaction.atomic():
        # held: of two who ask at once the second one takes the place of the first one's search
        if not Group.objects.select_for_update(no_key=True).filter(pk=group.pk).exists():
            raise NotFound("The group was deleted.")
        DuplicateSearch.objects.filter(pk=group.pk).delete()
        DuplicateSearch.objects.create(group=group, asked_by_id=actor_id(caller.account))


def waiting() -> list[UUID]:
    """The groups whose search no worker has begun, or whose worker ended."""
    return list(_waiting().values_list("pk", flat=True))


def _waiting() -> QuerySet[DuplicateSearch]:
    return DuplicateSearch.objects.filter(Q(begun_at=None) | Q(begun_at__lt=Now() - _LOST), done_at=None)


def run(group: UUID) -> bool:
    """Make the search that was asked for. Returns: whether this call made it; another worker may have been first."""
    if not _waiting().filter(pk=group).update(begun_at=Now()):
        return False
    search = DuplicateSearch.objects.select_related("group").filter(pk=group).first()
    if search is None:
        return False  # the group was deleted
    try:
        return _write(search, mixups.find(search.group.group_id), "")
    except (ServiceError, EngineError) as error:
        return _write(search, _NOTHING, audit.code_of(error))
    except DatabaseError:
        raise  # it can be made again
    except Exception as error:
        _write(search, _NOTHING, audit.code_of(error))  # or it would be made again, for ever
        raise


def _write(search: DuplicateSearch, found: Pairs, code: str) -> bool:
    with transaction.atomic():
        ids = {subject_id for pair in found.pairs for subject_id in pair.subject_ids}
        # held, so that none is erased before its pairs are there to go with it; and held first, since whoever deletes
        # the group has its memberships when it comes to the search, and an erasure its subject when it comes to those
        held = Subject.objects.select_for_update(no_key=True).filter(subject_id__in=ids).order_by("pk")
        by_id = {subject.subject_id: subject for subject in held}
        counts = {name: getattr(found, name) for name in ("compared", "not_enrolled", "not_embedded", "unusable")}
        unchanged = DuplicateSearch.objects.filter(pk=search.pk, done_at=None, asked_at=search.asked_at)
        if not unchanged.update(done_at=Now(), code=code, **counts):
            return False  # another worker was first, it was asked for anew, or the group was deleted
        DuplicatePair.objects.bulk_create(
            DuplicatePair(search=search, first=by_id[first], second=by_id[second], match=pair.match)
            for pair in found.pairs
            for first, second in [pair.subject_ids]
            if first in by_id and second in by_id
        )
    return True
