"""Two hosts, each with web server and worker, one database and broker: one is cut off in the middle of a rollout."""

from __future__ import annotations

import statistics
import time
import urllib.error

from devstack import commands, services
from devstack.drill.crowd import Offline
from devstack.drill.kills import after
from devstack.drill.live import count, differs, mixed
from devstack.drill.network import Host, host
from devstack.drill.pace import worker_per_s
from devstack.drill.people import Photo, attempts
from devstack.drill.report import Check, Report
from devstack.drill.stack import Stack, wait
from devstack.drill.traffic import Answer, Traffic
from devstack.drill.versions import NEW, active, embedded, forget_the_new_space, how_far, references
from devstack.processes import Child
from devstack.state import ROOT, say
from ml_models.models import Verification
from ml_models.rollouts import processes

CUT_S = 30.0
_ROUNDS = 3
_BACK_WITHIN_S = 420.0
_READY_WITHIN_S = 30.0


def run(stack: Stack, crowd: Offline, enrolled: list[Photo], rate: float, report: Report) -> None:
    """Args:
    rate: verifies a second, half of them to each host.
    """
    first, second = (host(stack, number) for number in (1, 2))
    stack.url = first.url
    web = _start(stack, first, "web", commands.WEB)
    _start(stack, first, "worker", commands.worker(concurrency=1))
    stack.start("beat", commands.beat(str(stack.state.path / "beat-schedule")))
    stack.supervisor.wait_until(stack.ready, web, 120, "the first host", poll_s=0.25)
    other = _start(stack, second, "web-2", commands.WEB)
    stack.supervisor.wait_until(lambda: _ready(second), other, 120, "the second host", poll_s=0.25)
    _pace(stack, second, report)
    _cut_off(stack, crowd, enrolled, rate, (first, second), report)


def _start(stack: Stack, on: Host, name: str, command: list[str]) -> Child:
    return stack.supervisor.start(name, on.command(command), env=on.environment(stack), cwd=ROOT)


def _ready(on: Host) -> bool:
    try:
        with services.LOOPBACK.open(f"{on.url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _pace(stack: Stack, second: Host, report: Report) -> None:
    one, two = [], []
    for turn in range(_ROUNDS):
        say(f"  round {turn + 1} of {_ROUNDS}: a worker on one host, on two …")
        one.append(worker_per_s(stack)[0])
        child = _start(stack, second, "worker-2", commands.worker(concurrency=1))
        wait(lambda: sum(process.kind == "worker" for process in processes.live()) == 2, 60, "the second worker")
        two.append(worker_per_s(stack)[0])
        if turn < _ROUNDS - 1:
            stack.stop(child)
    report.facts["references a second, worker on one host, on two"] = [
        (round(single, 1), round(both, 1)) for single, both in zip(one, two, strict=True)
    ]
    scaling = statistics.median(both / single for single, both in zip(one, two, strict=True))
    report.add(Check("workers on two hosts ÷ on one, median", scaling, 1.8, at_least=True))


def _cut_off(
    stack: Stack, crowd: Offline, enrolled: list[Photo], rate: float, both: tuple[Host, Host], report: Report
) -> None:
    first, second = both
    forget_the_new_space(stack)
    began_rows = Verification.objects.count()
    subjects = sorted({photo.subject for photo in enrolled})
    here, there = (
        Traffic(on.url, stack.token, attempts(list(crowd.probes), subjects), rate / 2) for on in (first, second)
    )
    with here, there:
        stack.call("POST", f"configs/{NEW}/activate")
        wait(lambda: embedded() > 0.2 * references(), 300, "a fifth to be embedded", telling=how_far)
        say(f"  the second host is cut off for {CUT_S:.0f} s …")
        cut_at, embedded_then = time.monotonic(), embedded()
        second.cut()
        time.sleep(CUT_S)
        second.join()
        joined_at, embedded_now = time.monotonic(), embedded()
        ready_s = wait(lambda: _ready(second), _BACK_WITHIN_S, "the second host to be ready")
        wait(lambda: active() == NEW, _BACK_WITHIN_S, "the rollout", 0.5, how_far)
        complete_s = time.monotonic() - joined_at
        time.sleep(5)
    after(stack, "a host cut off", report)
    meanwhile = here.between(cut_at, joined_at)
    report.facts |= {
        "embedded when it was cut off, when it was joined": [embedded_then, embedded_now],
        "the rollout was complete s after it was joined": round(complete_s, 1),
        "first host, verifies meanwhile": len(meanwhile),
        "second host, answers": count([str(a.body.get("code", a.status)) for a in there.answers]),
        "second host, s from the cable to its last failed answer": round(_last_failure_s(there.answers, joined_at), 1),
    }
    report.add(
        Check("first host: answers other than computed offline", sum(differs(crowd, a) for a in here.answers), 0),
        Check("second host: wrong decisions", sum(a.status == 200 and differs(crowd, a) for a in there.answers), 0),
        Check("answers that mix versions, from audit rows", mixed(began_rows), 0),
        Check("second host ready after it was joined", ready_s, _READY_WITHIN_S, unit="s"),
    )


def _last_failure_s(answers: list[Answer], since: float) -> float:
    ends = [answer.at + answer.took_ms / 1000 - since for answer in answers if answer.status != 200]
    return max(0.0, *ends) if ends else 0.0
