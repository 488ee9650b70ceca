"""The one rule for the host's ids of subjects and groups, at every door."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from ..exceptions import InvalidRequest
from ..models import Group, Subject

MAX_LENGTH = 200
"""Characters, as the database has it."""
_CONTROLS = {"Cc", "Cs", "Zl", "Zp"}
# drawn as nothing, though Unicode calls them letters, a mark and symbols: the fillers of Hangul and Khmer, the joiner
# of graphemes, Braille's empty cell, hieroglyphs' and music's blanks; and what it keeps free for such. What picks the
# shape of the character before it may be last.
_KEPT_FREE = (0x2065, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000))
_EMPTY = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U00013441\U00013442\U0001d159") | {
    character for character in map(chr, _KEPT_FREE) if unicodedata.category(character) == "Cn"
}
# belongs to the character before it: an accent, a shape
_MARKS = {"Mn", "Me"}
# they turn what stands behind them round, in a list beside other ids, too
_BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
# the same for digits and signs beside them; their class is that of a letter
_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f")
_UNREADABLE = "\ufffd"


def trouble(subject_id: str, what: str = "subject") -> str | None:
    """Why a text can be no subject's id, or no id of `what` else, as a sentence; None when it can. An id goes through
    addresses, logs and lists: what one of them would change or cut there names another subject, or none."""
    if not 1 <= len(subject_id) <= MAX_LENGTH:
        return f"A {what}'s id has 1 to {MAX_LENGTH} characters; this one has {len(subject_id)}."
    if subject_id != subject_id.strip() or _is_invisible(subject_id[0]) or _is_invisible(subject_id[-1]):
        return f"A {what}'s id neither begins nor ends with a blank or an invisible character."
    if unicodedata.category(subject_id[0]) in _MARKS:
        return f"A {what}'s id does not begin with a mark on the character before it, U+{ord(subject_id[0]):04X}."
    for place, character in enumerate(subject_id):
        if _is_control(character):
            return f"A {what}'s id has no control characters; character {place} is U+{ord(character):04X}."
    if _UNREADABLE in subject_id:
        return (
            f"A {what}'s id has no U+FFFD: it stands where some character could not be read, so for many ids at once."
        )
    # clients and proxies take these for steps through folders
    if not {"", ".", ".."}.isdisjoint(subject_id.split("/")):
        return f"A {what}'s id, and each of its parts between slashes, is neither empty nor “.” nor “..”."
    return None


def _is_invisible(character: str) -> bool:
    return character in _EMPTY or unicodedata.category(character) == "Cf"


def _is_control(character: str) -> bool:
    is_no_character = ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef"
    turns = character in _DIRECTION_MARKS or unicodedata.bidirectional(character) in _BIDIRECTIONAL
    return is_no_character or turns or unicodedata.category(character) in _CONTROLS


def require(subject_id: str, what: str = "subject") -> None:
    """Raises: InvalidRequest with the reason, for an id that breaks the rule."""
    if reason := trouble(subject_id, what):
        raise InvalidRequest(reason)


def odd() -> Iterator[tuple[Subject, str]]:
    """Subjects stored before there was the rule, each with why it breaks it. No call takes their ids any more."""
    return _breaking(Subject.objects.all(), "subject")


def odd_groups() -> Iterator[tuple[Group, str]]:
    """As `odd`, of groups."""
    return _breaking(Group.objects.all(), "group")


def _breaking(rows: QuerySet[Any], what: str) -> Iterator[tuple[Any, str]]:
    for row in rows.order_by("created_at", "pk").iterator():
        if reason := trouble(getattr(row, f"{what}_id"), what):
            yield row, reason
