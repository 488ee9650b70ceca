"""A version with a new network goes live under traffic: nobody notices; then weights only, and back."""

from __future__ import annotations

import time
from collections.abc import Callable

from devstack.drill.crowd import Offline
from devstack.drill.people import Photo, attempts
from devstack.drill.report import Check, Report
from devstack.drill.stack import Stack, wait
from devstack.drill.traffic import Answer, Traffic, percentile_ms
from devstack.drill.versions import NEW, OLD, REWEIGHTED, active, how_far, references
from devstack.state import say
from ml_models import rollouts
from ml_models.engine.voters import voter_key
from ml_models.models import Verification

# the API rounds scores to four digits; INT8 sums may differ in the last bits between two threads' batches
_SCORE_TOLERANCE = 1e-3


def run(
    stack: Stack,
    crowd: Offline,
    enrolled: list[Photo],
    rate: float,
    before_s: float,
    report: Report,
    repeats: int = 3,
    pause_s: float = 5.0,
) -> None:
    """A rollout and `repeats` changes of weights there and back, all under `rate` verifies a second.

    Args:
        before_s: how long traffic is measured before the rollout, to compare with.
        pause_s: how long it goes on between one deed and the next.
    """
    subjects = sorted({photo.subject for photo in enrolled})
    began_rows = Verification.objects.count()
    with Traffic(stack.url, stack.token, attempts(list(crowd.probes), subjects), rate) as traffic:
        say(f"  {rate:g} verifies a second for {before_s:.0f} s before the rollout …")
        time.sleep(pause_s)  # caches and connections warm
        before = time.monotonic()
        time.sleep(before_s)
        opened = time.monotonic()
        stack.call("POST", f"configs/{NEW}/activate")
        say("  the new network is being rolled out …")
        took_s = wait(lambda: active() == NEW, 1800, "the rollout", 0.5, how_far)
        closed = time.monotonic()
        time.sleep(pause_s)
        say("  weights only, and back …")
        rollouts.validate(rollouts.get_config(REWEIGHTED))
        activated, rolled_back = [], []
        for _ in range(repeats):
            activated.append(_until(lambda: stack.call("POST", f"configs/{REWEIGHTED}/activate"), REWEIGHTED))
            time.sleep(pause_s / 3)
            rolled_back.append(_until(lambda: stack.call("POST", f"configs/{REWEIGHTED}/rollback"), NEW))
            time.sleep(pause_s / 3)
    quiet, busy = traffic.between(before, opened), traffic.between(opened, closed)
    ratio = percentile_ms(busy, 95) / percentile_ms(quiet, 95)
    report.facts |= {
        "references": references(),
        "people": len(subjects),
        "verifies": len(traffic.answers),
        "impostors among them": sum(a.photo.subject != a.subject for a in traffic.answers),
        "answers by version": count([str(a.body.get("config_version", "none")) for a in traffic.answers]),
        "answers by decision": count([str(a.body.get("decision", a.body.get("code"))) for a in traffic.answers]),
        "rollout took s": round(took_s, 1),
        "verify p50 / p95 before, ms": [round(percentile_ms(quiet, p), 1) for p in (50, 95)],
        "verify p50 / p95 during, ms": [round(percentile_ms(busy, p), 1) for p in (50, 95)],
    }
    report.add(
        Check("people enrolled", len(subjects), min(1000, len(subjects)), at_least=True),
        Check("failed requests", sum(a.status != 200 for a in traffic.answers), 0),
        Check("answers that mix versions, from audit rows", mixed(began_rows), 0),
        Check("audit rows missing", abs(Verification.objects.count() - began_rows - len(traffic.answers)), 0),
        Check("decisions other than the ones computed offline", sum(differs(crowd, a) for a in traffic.answers), 0),
        Check("verify p95 during the rollout ÷ before it", ratio, 1.5),
        Check(f"weights-only activation, slowest of {repeats}", max(activated), 2.0, unit="s"),
        Check(f"rollback, slowest of {repeats}", max(rolled_back), 1.0, unit="s"),
    )


def _until(deed: Callable[[], object], version: int) -> float:
    """From the operator's call to the version being the one that requests are answered with."""
    began = time.monotonic()
    deed()
    wait(lambda: active() == version, 120, f"version {version}", poll_s=0.01)
    return time.monotonic() - began


def mixed(since: int) -> int:
    """Audit rows after the first `since` whose voters, similarities or threshold are not their own version's, in the
    condition that decided."""
    facts: dict[int | None, tuple[set[str], set[tuple[str, str, float]]]] = {}
    for version in (OLD, NEW, REWEIGHTED):
        config = rollouts.get_config(version)
        members = {member.artifact.name for member in config.members.all()}
        rules = {"": config.voter_sets, **{entry["name"]: entry["voter_sets"] for entry in config.conditions}}
        decided = {(name, key, rule["threshold"]) for name, sets in rules.items() for key, rule in sets.items()}
        facts[config.pk] = (members, decided)
    wrong = 0
    for row in Verification.objects.order_by("at")[since:]:
        members, decided = facts[row.config_id]
        whole = set(row.similarities) == members
        wrong += not (whole and (row.condition, voter_key(row.voters), row.threshold) in decided)
    return wrong


def differs(crowd: Offline, answer: Answer) -> bool:
    """Whether an answer is another one than the engine alone gives, or none."""
    if answer.status != 200:
        return True
    expected = crowd.decide(answer.photo, answer.subject, answer.body["config_version"])
    near = abs(expected.score - answer.body["score"]) <= _SCORE_TOLERANCE
    return not (near and expected.decision == answer.body["decision"])


def count(values: list[str]) -> dict[str, int]:
    return {value: values.count(value) for value in sorted(set(values))}
