"""Are the migrations safe while the release before still serves, and on tables of ten million rows?

django-migration-linter reads the SQL of each. What it only warns of, since it locks a table, is an error here; what it
overlooks is in `RULES`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

import django
from django_migration_linter import MigrationLinter
from django_migration_linter.sql_analyser.base import Check, CheckMode, CheckType
from django_migration_linter.sql_analyser.postgresql import PostgresqlAnalyser

APP = "ml_models"
BASELINE = 12
"""Up to this one a migration is exempt: it came before the first deployment, when every table was empty."""
# A later one that may break a rule, and why: a column that goes a release after the code that read it, say.
EXEMPT = {"0014_failure_tries": "a check beside a new column: rollouts keep at most FAILURES_ALLOWED of such rows"}
_LOCKS = ["CREATE_INDEX", "CREATE_INDEX_EXCLUSIVE", "DROP_INDEX", "REINDEX"]


def _added(pattern: str) -> Callable[..., bool]:
    """Whether a table that was there before is altered in this way, and not NOT VALID."""

    def found(sql_statements: list[str], **_: Any) -> bool:
        made = {match[1] for sql in sql_statements if (match := re.match(r'CREATE TABLE ("[^"]+")', sql))}
        checked_at_once = (sql for sql in sql_statements if "NOT VALID" not in sql)
        altered = (re.match(rf'ALTER TABLE ("[^"]+") {pattern}', sql) for sql in checked_at_once)
        return any(match and match[1] not in made for match in altered)

    return found


# what reads or writes a whole table under its exclusive lock: PostgreSQL's manual, ALTER TABLE, notes
RULES = {
    "CONSTRAINT": (
        r"ADD CONSTRAINT .* (CHECK|FOREIGN KEY|EXCLUDE)",
        "a constraint is checked at once: AddConstraintNotValid now, ValidateConstraint in the next migration",
    ),
    "COLUMN_CHECK": (
        r"ADD COLUMN .* CHECK \(",
        "a new column's check reads every row: take a field without one (not a Positive… one)",
    ),
    "COLUMN_UNIQUE": (
        r"ADD COLUMN .* UNIQUE",
        "a new column's unique index is built at once: add it by AddIndexConcurrently, or beside the column later",
    ),
    "COLUMN_REWRITE": (
        r"ADD COLUMN .* (DEFAULT \(?(?!STATEMENT_TIMESTAMP)\w+\(|GENERATED ALWAYS AS .* STORED)",
        "a default that differs from row to row, or a stored expression, rewrites the table: fill the column by a job",
    ),
    "NOT_NULL": (
        r"ALTER COLUMN .* SET NOT NULL",
        "SET NOT NULL reads every row: add a check NOT VALID, validate it, and only then set it",
    ),
}


class Analyser(PostgresqlAnalyser):
    """The linter's rules and ours."""

    migration_checks = [
        *PostgresqlAnalyser.migration_checks,
        *(
            Check(f"LOCKS_{code}", _added(pattern), message, CheckMode.TRANSACTION, CheckType.ERROR)
            for code, (pattern, message) in RULES.items()
        ),
    ]


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend_easy.settings")
    django.setup()
    linter = MigrationLinter(
        include_apps=[APP], ignore_name=list(EXEMPT), warnings_as_errors_tests=_LOCKS, quiet=["ignore"]
    )
    linter.sql_analyser_class = Analyser
    migrations = linter.migration_loader.disk_migrations
    linter.include_name = [name for app, name in migrations if app == APP and int(name[:4]) > BASELINE]
    linter.lint_all_migrations()
    linter.print_summary()
    return int(linter.has_errors)


if __name__ == "__main__":
    sys.exit(main())
