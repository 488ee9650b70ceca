"""Lists of tables that may hold a hundred million rows: pages and filters that read a few of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest

from .display import words

MOST_ROWS = 10_000
"""Counted exactly, and shown page by page, are so many rows; whoever looks for another one narrows the list."""


class BoundedPaginator(Paginator):
    """Pages of the first MOST_ROWS rows. `count` of a longer list that nothing filters is PostgreSQL's estimate."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        counted = int(rows.order_by().values("pk")[: MOST_ROWS + 1].count())
        if counted <= MOST_ROWS or rows.query.where:
            return counted
        return max(counted, _estimate(rows.model._meta.db_table))

    @cached_property
    def num_pages(self) -> int:
        return max(1, -(-min(self.count, MOST_ROWS) // self.per_page))


def _estimate(table: str) -> int:
    """How many rows the last ANALYZE or VACUUM has found; -1 before the first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [table])
        return int(cursor.fetchone()[0])


def one_of(field: str, values: Iterable[str]) -> type[SimpleListFilter]:
    """A filter of a field by these values. Django's own would ask the whole table which ones it holds."""

    class OneOf(SimpleListFilter):
        title = field
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
            return [(value, words(value)) for value in values]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    return OneOf


def codes_under(error: Any) -> Iterator[str]:
    """The codes of a tree of errors."""
    yield error.code
    for below in error.__subclasses__():
        yield from codes_under(below)
