"""Everything that a rollout leans on is killed once, in its middle; it completes by itself, nothing is done twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil
from django.db import connection

from devstack.drill.report import Check, Report
from devstack.drill.stack import Stack, pool_process, wait
from devstack.drill.versions import NEW, OLD, active, embedded, forget_the_new_space, how_far, references, rows
from devstack.processes import StackError, signal_group
from devstack.state import say
from ml_models import tasks
from ml_models.models import RolloutChunk, RolloutFailure
from ml_models.rollouts import processes

# lease 60 s, a tick every 10 s, the broker's own memory 120 s
_BACK_WITHIN_S = 420.0
_LEASE_S = 60.0


def run(stack: Stack, report: Report) -> None:
    for name, kill in CASES.items():
        say(f"  {name} …")
        forget_the_new_space(stack)
        stack.call("POST", f"configs/{NEW}/activate")
        wait(_in_the_middle, 300, "a chunk to be in hand")
        killed_at = embedded()
        began = time.monotonic()
        kill(stack)
        wait(lambda: active() == NEW, _BACK_WITHIN_S, f"the rollout after {name}", 0.5, how_far)
        took_s = time.monotonic() - began
        after(stack, name, report)
        report.facts[f"{name}: embedded at the kill, and s until it was complete"] = [killed_at, round(took_s, 1)]


def after(stack: Stack, name: str, report: Report) -> None:
    """Nothing missing, nothing twice, and a second activation embeds nothing."""
    stored = rows()
    tasks.tick()
    stack.call("POST", f"configs/{OLD}/activate")
    wait(lambda: active() == OLD, 60, "the old version")
    stack.call("POST", f"configs/{NEW}/activate")
    wait(lambda: active() == NEW, 60, "the new version again")
    report.add(
        Check(f"{name}: references missing", references() - RolloutFailure.objects.count() - len(stored), 0),
        Check(f"{name}: embeddings stored twice or again", len(rows() ^ stored), 0),
        Check(f"{name}: web not ready afterwards", float(not stack.ready()), 0),
    )


def _in_the_middle() -> bool:
    """A worker has a chunk in hand, and a tenth is done."""
    return 0.1 * references() < embedded() < 0.6 * references() and RolloutChunk.objects.filter(attempts=1).exists()


def kill_worker(stack: Stack) -> None:
    start_again = stack.kill("worker")
    time.sleep(2)
    start_again()


def _kill_pool_process(stack: Stack) -> None:
    pool_process(stack.child("worker")).kill()


def kill_broker(stack: Stack) -> None:
    start_again = stack.kill("valkey")
    time.sleep(5)
    start_again()


def kill_postgres(stack: Stack) -> None:
    start_again = stack.kill("postgres")
    connection.close()
    time.sleep(5)
    start_again()
    wait(database_answers, 60, "PostgreSQL's recovery")


def database_answers() -> bool:
    from django.db import OperationalError

    try:
        connection.ensure_connection()
    except OperationalError:
        connection.close()
        return False
    return True


def web_worker(stack: Stack) -> psutil.Process:
    """The forked process of the web server that answers."""
    [process] = psutil.Process(stack.child("web").process.pid).children()
    return process


def _kill_web_worker(stack: Stack) -> None:
    web_worker(stack).kill()
    wait(stack.ready, 60, "the web server")


def _freeze_worker(stack: Stack) -> None:
    frozen = stack.child("worker")
    signal_group(frozen.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    second = stack.start_second_worker()
    try:
        wait(lambda: active() == NEW, _BACK_WITHIN_S, "the rollout beside a frozen worker", 0.5, how_far)
        time.sleep(max(0.0, _LEASE_S + 5 - (time.monotonic() - began)))
    finally:
        signal_group(frozen.process.pid, signal.SIGCONT)
    time.sleep(10)  # it wakes, and finds its chunk done
    if not any(str(process).endswith(f":{pool_process(frozen).pid}") for process in processes.live()):
        raise StackError("The frozen worker did not come back.")
    stack.stop(second)


CASES: dict[str, Callable[[Stack], None]] = {
    "kill -9 of the Celery worker": kill_worker,
    "kill -9 of its pool process": _kill_pool_process,
    "kill -9 of the broker": kill_broker,
    "kill -9 of PostgreSQL": kill_postgres,
    "kill -9 of a web worker": _kill_web_worker,
    "SIGSTOP of the worker past its lease": _freeze_worker,
}
