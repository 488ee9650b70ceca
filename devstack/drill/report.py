"""What a drill found, as a table or as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from devstack.state import say


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold: `measured` at most (or at least) `limit`."""

    what: str
    measured: float
    limit: float
    at_least: bool = False
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def line(self) -> str:
        relation = "≥" if self.at_least else "≤"
        mark = "✓" if self.holds else "✗"
        unit = f" {self.unit}" if self.unit else ""
        return f"  {mark} {self.what:66} {self.measured:10.6g}{unit:4}  {relation} {self.limit:g}"


class Report:
    """Checks as they come, and facts beside them."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.facts: dict[str, Any] = {}

    def add(self, *checks: Check) -> None:
        self.checks += checks
        for check in checks:
            say(check.line())

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "checks": [{**asdict(check), "holds": check.holds} for check in self.checks],
            "facts": self.facts,
        }

    def show(self) -> None:
        print()
        for check in self.checks:
            print(check.line())
        for name, value in self.facts.items():
            print(f"    {name}: {value}")
        missed = [check.what for check in self.checks if not check.holds]
        print(f"\n{len(self.checks) - len(missed)} of {len(self.checks)} hold.")
