"""`make fuzz`, its third part: calls drawn from the OpenAPI document, by every role, each answer held against it.

On services of its own, with the demo pack's version live and two people enrolled. What a call changes stays: later ones
meet erased people, locked ones and rollouts on their way. Before each role's calls the two are enrolled and free again,
or nothing but refusals would be left.
"""

from __future__ import annotations

import argparse
import base64
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

PERMISSIONS: Mapping[str, Sequence[str]] = {
    "nobody": (),
    "a person": (),
    "a kiosk": ("verify_subject",),
    "an enrolment desk": ("enroll_subject", "read_subject", "erase_subject", "override_reference"),
    "an operator": (
        "validate_config",
        "activate_config",
        "rollback_config",
        "control_rollout",
        "release_subject",
        "view_ensembleconfig",
        "view_rollout",
    ),
}
ADMINISTRATOR = "an administrator"
DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.yaml"
ROLES = (*PERMISSIONS, ADMINISTRATOR)
# what a service may answer that is still starting, or has too much to do
_LATER = ("not_ready", "overloaded")
_CHECKS = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")


@dataclass
class Report:
    """What came of the calls; `done` counts the ones that were not refused, a finding is "role, call: what"."""

    calls: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    by_call: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Known:
    """What the service knows, so that some calls get past "not found"."""

    subject_ids: Sequence[str]
    pictures: Sequence[bytes]
    versions: Sequence[int] = (1, 2, 3)

    def path_parameters(self) -> dict[str, Sequence[Any]]:
        from ml_models.models import Group, Reference, Rollout

        return {
            "subject_id": self.subject_ids,
            "group_id": list(Group.objects.values_list("group_id", flat=True)[:20]),
            "version": self.versions,
            "reference_id": [str(pk) for pk in Reference.objects.values_list("pk", flat=True)[:20]],
            "rollout_id": [str(pk) for pk in Rollout.objects.values_list("pk", flat=True)[:20]],
        }

    def bring_back(self) -> None:
        """Enrol whom calls have erased, release whom they have locked."""
        from ml_models import services
        from ml_models.models import Reference
        from ml_models.services import lockout

        for subject_id, picture in zip(self.subject_ids, self.pictures, strict=True):
            if not Reference.objects.filter(subject__subject_id=subject_id).exists():
                services.enroll(services.NOBODY, subject_id, picture, override=True)
            lockout.release(services.NOBODY, subject_id)


def run(
    app: Any,
    known: Known,
    tokens: Mapping[str, str],
    calls: int,
    seed_: int,
    roles: Sequence[str] = ROLES,
    in_a_row: int = 20,
) -> Report:
    """Rounds over every role and operation, `in_a_row` calls each, until there were so many. A role without a token
    sends none."""
    load_all_checks()
    schema: Any = schemathesis.openapi.from_path(DOCUMENT)
    schema.app = app
    operations = [found.ok() for found in schema.get_all_operations()]  # raises where one cannot be read
    report = Report()
    for turn, (role, operation) in enumerate(cycle(product(roles, operations))):
        if report.calls >= calls:
            break
        if turn % len(operations) == 0:
            known.bring_back()
        headers = {"Authorization": f"Token {tokens[role]}"} if role in tokens else {}
        _draw(operation, role, headers, known, in_a_row, seed_ + turn, report)
        if turn % 100 == 0:
            print(f"{report.calls} calls, {sum(report.findings.values())} findings", file=sys.stderr, flush=True)
    return report


def _draw(
    operation: Any, role: str, headers: dict[str, str], known: Known, examples: int, seed_: int, report: Report
) -> None:
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    # what takes nothing cannot be given anything wrong
    takes_something = bool(operation.body) or any(True for _ in operation.iter_parameters())
    cases = st.one_of([operation.as_strategy(mode) for mode in (modes if takes_something else modes[:1])])

    paths = known.path_parameters()  # once: what is drawn from may not change between the draws

    @seed(seed_)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, data=st.data())
    def call(case: Any, data: Any) -> None:
        _fill_in(case, known, paths, data)
        _judge(case, case.call(headers=headers), role, report)

    call()


def _fill_in(case: Any, known: Known, paths: Mapping[str, Sequence[Any]], data: Any) -> None:
    """Put what the service knows in place of every second value drawn."""

    def replaced(values: Sequence[Any]) -> Any:
        return data.draw(st.sampled_from(values)) if values and data.draw(st.booleans()) else None

    for name, values in paths.items():
        if name in case.path_parameters and (value := replaced(values)) is not None:
            case.path_parameters[name] = value
    if isinstance(case.body, dict):
        if data.draw(st.booleans()):  # nobody guesses one
            case.body.pop("challenge_id", None)
            case.body.pop("nonce", None)
        if value := replaced(known.subject_ids):
            case.body["subject_id"] = value
        if picture := replaced(known.pictures):
            sent = base64.b64encode(picture).decode() if "json" in case.media_type else picture
            case.body["image"] = [sent] if isinstance(case.body.get("image"), list) else sent


def _judge(case: Any, response: Any, role: str, report: Report) -> None:
    call = f"{case.method} {case.operation.path}"
    is_problem = response.headers.get("content-type", [""])[0] == "application/problem+json"
    code = str(response.json()["code"]) if is_problem else str(response.status_code)
    report.calls += 1
    report.codes[code] += 1
    report.by_call[f"{role}, {call}"] += 1
    report.done[call] += response.status_code < 300
    if response.status_code >= 500 and code not in _LATER:
        report.findings[f"{role}, {call}: {code}"] += 1
    for name in _CHECKS:
        try:
            case.validate_response(response, checks=[CHECKS.get_one(name)])
        except FailureGroup as group:
            for failure in group.exceptions:
                report.findings[f"{role}, {call}: {code}: {failure.title}"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.calls", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same calls")
    options, _ = parser.parse_known_args()  # `make fuzz` gives all its parts the same

    from devstack.ephemeral import ephemeral_services

    with ephemeral_services() as environment:
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="backend_easy.settings")
        report = run(*served(), options.calls, options.seed)
    print(f"seed {options.seed}: {report.calls} calls of {len(report.by_call)} roles and calls")
    print(", ".join(f"{code} {count}" for code, count in sorted(report.codes.items())))
    print("done: " + ", ".join(f"{call} {count}" for call, count in sorted(report.done.items())))
    print(f"findings: {sum(report.findings.values())}")
    for finding, count in report.findings.most_common(50):
        print(f"  {count} × {finding}")
    return int(bool(report.findings))


def served() -> tuple[Any, Known, dict[str, str]]:
    """The application with a live version and two people, what it knows, and the roles' tokens."""
    import django
    from django.conf import settings as django_settings

    django.setup()
    logging.disable()  # each refusal is a line
    django_settings.ML_MODELS |= {"LIMITS": {"caller": None, "subject": None}, "REENROL_WINDOW_DAYS": 0}

    from django.core.management import call_command

    from backend_easy.wsgi import application
    from devstack.portraits import eileen_collins, grace_hopper
    from ml_models import services
    from tests.support.served import PACK_CACHE, activate, ensemble, write

    call_command("migrate", verbosity=0)
    call_command("fetch_demo_pack", cache_dir=PACK_CACHE)
    folder = Path(tempfile.mkdtemp(prefix="calls-"))
    offsets = [{"candidates": count, "match": 1.0, "review": 0.0} for count in (1, 2000)]
    activate(folder, ensemble(2, identification={"target_fpir": 0.001, "offsets": offsets}))
    call_command("load_ensemble", str(write(folder, ensemble(3, name="a draft"))))
    people = {"child-1": eileen_collins(), "child-2": grace_hopper()}
    for subject_id, picture in people.items():
        services.enroll(services.NOBODY, subject_id, picture)
    return application, Known(list(people), list(people.values())), dict(_tokens())


def _tokens() -> Iterator[tuple[str, str]]:
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Permission
    from rest_framework.authtoken.models import Token

    for role in ROLES[1:]:
        user = get_user_model().objects.create_user(role, is_superuser=role == ADMINISTRATOR)
        user.user_permissions.set(Permission.objects.filter(codename__in=PERMISSIONS.get(role, ())))
        yield role, Token.objects.create(user=user).key


if __name__ == "__main__":
    sys.exit(main())
