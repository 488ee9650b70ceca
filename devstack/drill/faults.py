"""`make faults`: nine faults, one after the other, under verifies and enrolments. What ends is started again after two
seconds, as an orchestrator does (`restart: unless-stopped`); nothing else is done by hand."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from devstack.drill.crowd import Offline
from devstack.drill.kills import database_answers, kill_broker, kill_postgres, kill_worker, web_worker
from devstack.drill.leaks import leaked
from devstack.drill.live import count, differs
from devstack.drill.people import EVERY_IMPOSTOR, Photo, attempts
from devstack.drill.report import Check, Report
from devstack.drill.stack import Stack, wait
from devstack.drill.traffic import Answer, Enrolments, Traffic
from devstack.state import say
from ml_models import artifacts, selectors
from ml_models.models import Embedding, Reference, Verification

FROZEN_S = 20.0
_FROZEN_DATABASE = "PostgreSQL frozen"
_TOLD_WITHIN_S = 5.0
# a lease, a tick, and the networks' loading
_RECOVERED_WITHIN_S = 300.0
# so long nothing fails before it counts as over, and before the next one begins
_QUIET_S = 5.0
_ENROLMENTS_PER_VERIFY = 0.125


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds after the end of a fault. `answers_s`: the last failed answer was given; `embeds_s`: an owed embedding
    was made, which takes worker, beat, broker, database and networks."""

    answers_s: float
    embeds_s: float
    failed: dict[str, int]
    slowest_ms: float


def run(
    stack: Stack,
    crowd: Offline,
    enrolled: list[Photo],
    strangers: list[Photo],
    rate: float,
    rounds: int,
    only: list[str],
    report: Report,
) -> None:
    """Args:
    strangers: photos of people to be enrolled meanwhile, one each.
    only: names of `CASES`.
    """
    probes = list(crowd.probes)
    # impostors claim to be somebody who is also shown in person, which ends each row of failures: nobody is locked
    claimed = sorted(
        {photo.subject for place, photo in enumerate(probes) if place % EVERY_IMPOSTOR != EVERY_IMPOSTOR - 1}
    )
    # one person is kept for the jobs
    spare = next(photo.subject for photo in enrolled if photo not in probes and photo.subject not in claimed)
    verifies = Traffic(stack.url, stack.token, attempts(probes, claimed), rate)
    enrolments = Enrolments(
        stack.url, stack.token, ((photo, photo.subject) for photo in strangers), rate * _ENROLMENTS_PER_VERIFY
    )
    times: dict[str, list[Recovery]] = {name: [] for name in only}
    with verifies, enrolments:
        time.sleep(_QUIET_S)
        for turn in range(rounds):
            for name in only:
                say(f"  {turn + 1} of {rounds}: {name} …")
                recovery = _suffer(stack, CASES[name], verifies, spare)
                times[name].append(recovery)
                say(f"    answers after {recovery.answers_s:.1f} s, embeds after {recovery.embeds_s:.1f} s")
    _tell(times, report)
    if frozen_for := times.get(_FROZEN_DATABASE):
        slowest_s = max(recovery.slowest_ms for recovery in frozen_for) / 1000
        report.add(Check(f"{_FROZEN_DATABASE}: slowest answer", slowest_s, _TOLD_WITHIN_S, unit="s"))
    _check(stack, crowd, verifies.answers, enrolments.answers, report)


def _suffer(stack: Stack, fault: Callable[[Stack], None], verifies: Traffic, spare: str) -> Recovery:
    began = time.monotonic()
    fault(stack)
    over = time.monotonic()
    wait(database_answers, _RECOVERED_WITHIN_S, "the database")
    _owe(spare)
    wait(lambda: not _owed(spare), _RECOVERED_WITHIN_S, "an owed embedding")
    embeds_s = time.monotonic() - over
    wait(stack.ready, _RECOVERED_WITHIN_S, "the web server")
    wait(lambda: _quiet(verifies), _RECOVERED_WITHIN_S, "verifies to be answered")
    suffered = verifies.between(began, time.monotonic())
    failed = [answer for answer in suffered if _failed(answer)]
    last = max((answer.at + answer.took_ms / 1000 for answer in failed), default=over)
    return Recovery(
        max(0.0, last - over),
        embeds_s,
        count([str(answer.body.get("code")) for answer in failed]),
        max((answer.took_ms for answer in suffered), default=0.0),
    )


def _quiet(verifies: Traffic) -> bool:
    """Whatever was answered lately was answered as the service means to."""
    since = time.monotonic() - _QUIET_S
    lately = [answer for answer in list(verifies.answers) if answer.at + answer.took_ms / 1000 > since]
    return bool(lately) and not any(_failed(answer) for answer in lately)


def _failed(answer: Answer) -> bool:
    return answer.status == 0 or answer.status >= 500


def _owe(subject: str) -> None:
    """Take away what is stored of a person under the active version; the ticks find it missing."""
    Embedding.objects.filter(reference__subject__subject_id=subject).delete()


def _owed(subject: str) -> bool:
    made = Embedding.objects.filter(reference__subject__subject_id=subject).values_list("space", flat=True)
    return not {member.space for member in selectors.active_config().members.all()} <= set(made)


def _tell(times: dict[str, list[Recovery]], report: Report) -> None:
    for name, recoveries in times.items():
        report.facts[f"{name}: s until answers, until jobs"] = [
            (round(recovery.answers_s, 1), round(recovery.embeds_s, 1)) for recovery in recoveries
        ]
        report.facts[f"{name}: failed answers by code"] = [recovery.failed for recovery in recoveries]
        report.facts[f"{name}: slowest answer, s"] = [round(recovery.slowest_ms / 1000, 1) for recovery in recoveries]


def _check(stack: Stack, crowd: Offline, verifies: list[Answer], enrolments: list[Answer], report: Report) -> None:
    told = [answer for answer in verifies if answer.status == 200]
    promised = [answer for answer in enrolments if answer.status == 201]
    stored = {str(pk) for pk in Reference.objects.values_list("pk", flat=True)}
    recorded = {str(pk) for pk in Verification.objects.values_list("pk", flat=True)}
    leaks = leaked(stack, [*verifies, *enrolments])
    report.facts |= {
        "verifies": len(verifies),
        "impostors among them": sum(answer.photo.subject != answer.subject for answer in verifies),
        "verifies decided": len(told),
        "enrolments answered 201": len(promised),
        "leaks by place": leaks,
    }
    report.add(
        Check("wrong decisions", sum(differs(crowd, answer) for answer in told), 0),
        Check("decisions told without an audit row", sum(a.body["verification_id"] not in recorded for a in told), 0),
        Check("enrolments answered 201 and lost", sum(a.body["reference_id"] not in stored for a in promised), 0),
        Check("enrolled meanwhile and not recognised", sum(not _recognised(stack, answer) for answer in promised), 0),
        Check("leaked bytes", sum(leaks.values()), 0),
        Check("verifies decided", len(told), 1, at_least=True),
        Check("enrolments answered 201", len(promised), 1, at_least=True),
    )


def _recognised(stack: Stack, enrolment: Answer) -> bool:
    """The very picture matches what was stored of it."""
    image = base64.b64encode(enrolment.photo.read()).decode()
    return bool(stack.call("POST", "verify", subject_id=enrolment.subject, image=image)["decision"] == "match")


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


def _tree(stack: Stack, name: str) -> list[int]:
    """A server's processes: PostgreSQL's are no members of its group."""
    server = psutil.Process(stack.child(name).process.pid)
    return [server.pid, *(child.pid for child in server.children(recursive=True))]


def _kill_web(stack: Stack) -> None:
    web_worker(stack).kill()


def _kill_beat(stack: Stack) -> None:
    start_again = stack.kill("beat")
    time.sleep(2)
    start_again()


def _freeze_postgres(stack: Stack) -> None:
    with frozen(_tree(stack, "postgres")):
        time.sleep(FROZEN_S)


def _freeze_redis(stack: Stack) -> None:
    with frozen(_tree(stack, "valkey")):
        time.sleep(FROZEN_S)


def _lose_bucket(stack: Stack) -> None:
    """It says nothing for a while, and a web process has to start meanwhile."""
    with frozen(_tree(stack, "gcs")):
        web_worker(stack).kill()
        time.sleep(FROZEN_S)


def _fill_disk(stack: Stack) -> None:
    """A network's file is gone from the cache, nothing can be written, and a web process has to start meanwhile."""
    server = psutil.Process(stack.child("web").process.pid)
    _, most = server.rlimit(psutil.RLIMIT_FSIZE)
    victim = artifacts.local_path(selectors.active_config().detector)
    try:
        server.rlimit(psutil.RLIMIT_FSIZE, (0, most))
        victim.unlink()
        web_worker(stack).kill()
        wait(lambda: not stack.ready(), 30, "the process without its network")
        time.sleep(FROZEN_S)
    finally:
        for process in (server, *server.children()):
            process.rlimit(psutil.RLIMIT_FSIZE, (most, most))


CASES: dict[str, Callable[[Stack], None]] = {
    "kill -9 of the web process": _kill_web,
    "kill -9 of the worker": kill_worker,
    "kill -9 of beat": _kill_beat,
    "kill -9 of the broker": kill_broker,
    "kill -9 of PostgreSQL": kill_postgres,
    _FROZEN_DATABASE: _freeze_postgres,
    "Redis frozen": _freeze_redis,
    "the bucket gone": _lose_bucket,
    "the cache's disk full": _fill_disk,
}
