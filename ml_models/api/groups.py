"""The REST interface of groups: the rosters that the host keeps."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from ml_models.services import audit, groups

from . import access, examples
from .base import FaceView, audited, parse, written
from .callers import caller
from .fields import IdField, IdsField
from .schema import operation


class GroupRequest(serializers.Serializer[Any]):
    subject_ids = IdsField(groups.MAX_MEMBERS, help_text="All members, whether they are enrolled or not.")


class GroupChange(serializers.Serializer[Any]):
    add = IdsField(groups.MAX_MEMBERS, required=False, help_text="Who comes; `add`, `remove` or both are sent.")
    remove = IdsField(groups.MAX_MEMBERS, required=False, help_text="Who goes.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:  # a name that is misspelt would change nothing, and be answered as if it had
            raise serializers.ValidationError({"add": "Name who comes in `add`, who goes in `remove`, or both."})
        return attrs


class GroupAnswer(serializers.Serializer[Any]):
    group_id = serializers.CharField()
    size = serializers.IntegerField()
    subject_ids = serializers.ListField(child=serializers.CharField(), help_text="sorted")
    not_enrolled = serializers.ListField(
        child=serializers.CharField(), help_text="the members without a reference: they cannot be identified yet"
    )


class GroupView(FaceView):
    permission_classes = [IsAuthenticated]

    @operation("get_group", {200: GroupAnswer}, "not_found", example=examples.GROUP)
    def get(self, request: Request, group_id: str) -> Response:
        """Who is in a group, and who of them is not enrolled."""
        group_id = group_of(group_id)
        access.require_group(request.user, "read", group_id)
        return _answer(groups.get(group_id))

    @operation(
        "put_group",
        {200: GroupAnswer, 201: GroupAnswer},
        body=GroupRequest,
        example=examples.GROUP,
        sent={"subject_ids": ["child-1", "child-2"]},
    )
    def put(self, request: Request, group_id: str) -> Response:
        """Make a group of just these subjects. Sent twice, it changes nothing the second time."""
        group_id = group_of(group_id)
        with audited(audit.Kind.WRITE_GROUP, caller(request)):
            access.require_group(request.user, "write", group_id)
        return _answer(groups.put(caller(request), group_id, parse(GroupRequest, request)["subject_ids"]))

    @operation(
        "change_group",
        {200: GroupAnswer},
        "not_found",
        body=GroupChange,
        example=examples.GROUP,
        sent={"add": ["child-2"], "remove": ["child-3"]},
    )
    def patch(self, request: Request, group_id: str) -> Response:
        """Add and remove members. Sent twice, it changes nothing the second time."""
        group_id = group_of(group_id)
        with audited(audit.Kind.WRITE_GROUP, caller(request)):
            access.require_group(request.user, "write", group_id)
        data = parse(GroupChange, request)
        return _answer(groups.change(caller(request), group_id, data.get("add", []), data.get("remove", [])))

    @operation("erase_group", {204: None}, "not_found")
    def delete(self, request: Request, group_id: str) -> Response:
        """Delete a group. Its members stay enrolled."""
        group_id = group_of(group_id)
        with audited(audit.Kind.ERASE_GROUP, caller(request)):
            access.require_group(request.user, "erase", group_id)
        groups.erase(caller(request), group_id)
        return Response(status=204)


def group_of(path: str) -> str:
    """A group's id from the address, held to the same rules as one in a body."""
    return str(IdField("group").run_validation(path))


def _answer(roster: groups.Roster) -> Response:
    answer = {
        "group_id": roster.group_id,
        "size": len(roster.subject_ids),
        "subject_ids": roster.subject_ids,
        "not_enrolled": roster.not_enrolled,
    }
    return Response(written(GroupAnswer, answer), status=201 if roster.created else 200)
