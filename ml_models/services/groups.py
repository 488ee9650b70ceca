"""Groups: the rosters that the host keeps, and who is on them.

A group names subjects by the host's ids, whether they are enrolled or not: a roster is complete before the last child
on it has been enrolled. Erasing a subject takes it off every group (`services.erasure`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from ..exceptions import InvalidRequest, NotFound
from ..models import Group, Membership, Reference
from . import audit, subject_ids
from .callers import Caller

MAX_MEMBERS = 2000
# by hand: every search asks it, and the ORM takes longer to write it than PostgreSQL to answer
_MEMBERS = """
SELECT id, ARRAY(SELECT subject_id FROM ml_models_membership member WHERE member.group_id = ml_models_group.id)
FROM ml_models_group WHERE group_id = %s
"""

_NO_GROUP = "There is no such group."


@dataclass(frozen=True, slots=True)
class Roster:
    """A group as it stands; ids are the host's, sorted. Of `not_enrolled` no reference is stored."""

    group_id: str
    subject_ids: tuple[str, ...]
    not_enrolled: tuple[str, ...]
    created: bool = False


def get(group_id: str) -> Roster:
    """A group's members.

    Raises:
        InvalidRequest: the id breaks the rule.
        NotFound: there is no such group.
    """
    return _roster(existing(group_id))


def existing(group_id: str) -> Group:
    """A group by the host's id.

    Raises:
        InvalidRequest: the id breaks the rule.
        NotFound: there is no such group.
    """
    return _found(Group.objects.all(), group_id)


def members(group_id: str) -> tuple[UUID, tuple[str, ...]]:
    """A group's key, and its members by the host's ids, sorted.

    Raises:
        InvalidRequest: the id breaks the rule.
        NotFound: there is no such group.
    """
    subject_ids.require(group_id, "group")
    with connection.cursor() as cursor:
        cursor.execute(_MEMBERS, [group_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound(_NO_GROUP)
    return row[0], tuple(sorted(row[1]))


def put(caller: Caller, group_id: str, members: Iterable[str]) -> Roster:
    """Make a group of just these subjects, in place of whoever was in it.

    Raises:
        InvalidRequest: an id breaks the rule, or there are more than `MAX_MEMBERS`.
    """
    wanted = _checked(members)
    subject_ids.require(group_id, "group")
    with transaction.atomic():
        group, created = _held(group_id)
        present = _members(group)
        _change(caller, group, wanted - present, present - wanted, created)
        return _roster(group, created)


def change(caller: Caller, group_id: str, add: Iterable[str], remove: Iterable[str]) -> Roster:
    """Add and remove members. Who is there already, or not there, stays so.

    Raises:
        InvalidRequest: an id breaks the rule or is in both lists, or there would be more than `MAX_MEMBERS`.
        NotFound: there is no such group.
    """
    coming, going = _checked(add), _checked(remove)
    if both := len(coming & going):
        raise InvalidRequest(f"In `add` and in `remove` at once: {both} of the subjects. Name each in one of them.")
    with transaction.atomic():
        group = _found(Group.objects.select_for_update(), group_id)
        present = _members(group)
        _require_room((present | coming) - going)
        _change(caller, group, coming - present, going & present, created=False)
        return _roster(group)


def erase(caller: Caller, group_id: str) -> None:
    """Delete a group. Its members stay enrolled.

    Raises:
        InvalidRequest: the id breaks the rule.
        NotFound: there is no such group.
    """
    with transaction.atomic():
        _erase(caller, _found(Group.objects.select_for_update(), group_id))


def erase_row(caller: Caller, pk: UUID) -> None:
    """As `erase`, by the group's row and whatever its id: for ids that break the rule.

    Raises:
        NotFound: there is no such group.
    """
    with transaction.atomic():
        group = Group.objects.select_for_update().filter(pk=pk).first()
        if group is None:
            raise NotFound(_NO_GROUP)
        _erase(caller, group)


def _erase(caller: Caller, group: Group) -> None:
    audit.record(audit.Kind.ERASE_GROUP, caller, group=str(group.pk), removed=group.memberships.count())
    group.delete()


def leave_all(subject_id: str) -> int:
    """Take a subject off every group: part of its erasure. Returns: off how many."""
    with transaction.atomic():
        # in one order: calls that hold rows of several groups wait for each other, and none for ever
        mine = Membership.objects.select_for_update().filter(subject_id=subject_id).order_by("group_id")
        return Membership.objects.filter(pk__in=list(mine.values_list("pk", flat=True))).delete()[0]


def _held(group_id: str) -> tuple[Group, bool]:
    """The group, held, and whether this call made it."""
    made = Group(group_id=group_id)
    # again where another call deletes the group between our insert, which found it, and our look for it
    while (group := Group.objects.select_for_update().filter(group_id=group_id).first()) is None:
        Group.objects.bulk_create([made], ignore_conflicts=True)
    return group, group.pk == made.pk


def _checked(members: Iterable[str]) -> set[str]:
    wanted = set(members)
    _require_room(wanted)
    for subject_id in wanted:
        subject_ids.require(subject_id)
    return wanted


def _require_room(members: Collection[str]) -> None:
    if len(members) > MAX_MEMBERS:
        raise InvalidRequest(f"A group has at most {MAX_MEMBERS} members; this would be {len(members)}. Split it.")


def _change(caller: Caller, group: Group, coming: set[str], going: set[str], created: bool) -> None:
    group.memberships.filter(subject_id__in=going).delete()
    Membership.objects.bulk_create(Membership(group=group, subject_id=subject_id) for subject_id in sorted(coming))
    if coming or going or created:
        kind, added, removed = audit.Kind.WRITE_GROUP, len(coming), len(going)
        audit.record(kind, caller, group=str(group.pk), added=added, removed=removed)


def _found(rows: QuerySet[Group], group_id: str) -> Group:
    subject_ids.require(group_id, "group")
    group = rows.filter(group_id=group_id).first()
    if group is None:
        raise NotFound(_NO_GROUP)
    return group


def _members(group: Group) -> set[str]:
    return set(group.memberships.values_list("subject_id", flat=True))


def _roster(group: Group, created: bool = False) -> Roster:
    members = _members(group)
    of_group = group.memberships.values("subject_id")
    enrolled = Reference.objects.filter(subject__subject_id__in=of_group).values_list("subject__subject_id", flat=True)
    return Roster(group.group_id, tuple(sorted(members)), tuple(sorted(members - set(enrolled))), created)
