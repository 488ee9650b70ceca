"""Cores, counted for the host: one for each who computes, more while nobody waits, none for the dead."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

from devstack.state import ROOT
from ml_models import runtime, services
from ml_models.engine.errors import InferenceFailed, NoFaceFound
from ml_models.engine.lanes import ONE_LANE
from ml_models.exceptions import Overloaded
from ml_models.models import AuditEvent, EnsembleConfig, Verification
from ml_models.services import admission
from ml_models.services.attempts import Attempt
from ml_models.services.slots import Slots
from tests.conftest import Portraits
from tests.support.pictures import encoded, faceless
from tests.support.uploads import enroll, verify

LONG_S = 30


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """Two slots of this test's own."""
    settings.ML_MODELS = {**settings.ML_MODELS, "SLOTS_DIR": str(tmp_path), "SLOTS": 2, "MAX_WAIT_S": 0.2}
    with admission.current.renewed():
        yield tmp_path


@pytest.fixture
def elsewhere(folder: Path) -> Slots:
    """The same slots, as another process has them."""
    return Slots(folder, 2, admission.URGENCIES)


def until(done: Callable[[], Any]) -> None:
    end = time.monotonic() + LONG_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def threads_of(works: int, lanes: Any) -> set[int]:
    """In how many threads lanes run works that take a while."""

    def work() -> int:
        time.sleep(0.05)
        return threading.get_ident()

    return set(lanes.run([work] * works))


def test_works_run_side_by_side_while_a_core_is_idle_and_one_after_another_when_none_is(
    folder: Path, elsewhere: Slots
) -> None:
    with admission.admitted(admission.VERIFY) as lanes:
        assert len(threads_of(4, lanes)) == 2
        until(lambda: elsewhere.busy() == 1)  # the second core is given back
        assert lanes.spread(lambda cores: (cores, elsewhere.busy())) == (2, 2)
        with pytest.raises(ZeroDivisionError):
            lanes.spread(lambda cores: cores // 0)
        assert elsewhere.busy() == 1
        other = elsewhere.take(1)
        assert other is not None
        assert threads_of(3, lanes) == {threading.get_ident()}
        assert lanes.spread(lambda cores: cores) == 1
        elsewhere.give_back(other)
    with admission.admitted(admission.SHADOW) as lanes:
        assert threads_of(3, lanes) == {threading.get_ident()}
        assert lanes.spread(lambda cores: cores) == 1
    assert elsewhere.busy() == 0


def test_a_second_core_is_let_go_of_as_soon_as_somebody_waits(folder: Path, elsewhere: Slots) -> None:
    begun, go, came = threading.Event(), threading.Event(), threading.Event()
    ran_in: list[int] = []

    def first() -> None:
        begun.set()
        assert go.wait(LONG_S)

    def later() -> None:
        ran_in.append(threading.get_ident())
        time.sleep(0.02)

    def newcomer() -> None:
        slot = elsewhere.wait(1, 60.0, time.monotonic() + LONG_S)
        came.set()
        elsewhere.give_back(slot)

    with ThreadPoolExecutor(2) as pool, admission.admitted(admission.VERIFY) as lanes:
        answer: Future[Any] = pool.submit(lanes.run, [first, first, later, later, later])
        assert begun.wait(LONG_S)
        until(lambda: elsewhere.busy() == 2)
        waiting = pool.submit(newcomer)
        until(lambda: elsewhere.awaited())
        go.set()
        answer.result(LONG_S)
        waiting.result(LONG_S)
    assert came.is_set()
    assert len(set(ran_in)) == 1


def test_answers_keep_their_order_and_the_first_error_is_told(folder: Path) -> None:
    def fails(message: str) -> Callable[[], int]:
        def work() -> int:
            raise InferenceFailed(message)

        return work

    with admission.admitted(admission.VERIFY) as lanes:
        assert lanes.run([lambda n=n: n * n for n in range(20)]) == [n * n for n in range(20)]  # type: ignore[misc]
        with pytest.raises(InferenceFailed, match="the first"):
            lanes.run([lambda: 1, fails("the first"), fails("the second"), *[lambda: 1] * 10])
        # lanes within lanes: more parts than there are threads
        assert lanes.run([lambda: lanes.run([lambda: 1] * 4)] * 4) == [[1] * 4] * 4


def test_who_waits_for_a_picture_of_another_lane_does_a_part_of_it(folder: Path) -> None:
    both, begun, caller = threading.Barrier(2, timeout=LONG_S), threading.Event(), threading.get_ident()

    def picture() -> int:
        if threading.get_ident() == caller:
            assert begun.wait(LONG_S)  # then there is nothing left for it to begin
            return 0
        begun.set()
        time.sleep(0.2)
        return len(lanes.run([both.wait, both.wait]))  # each part waits for the other: two lanes, or none

    with admission.admitted(admission.VERIFY) as lanes:
        assert sorted(lanes.run([picture, picture])) == [0, 2]


@pytest.mark.parametrize("slow", ["caller", "helper"])
def test_what_is_to_be_done_beside_waits_for_an_idle_core_and_for_the_works_that_it_could_do(
    folder: Path, elsewhere: Slots, slow: str
) -> None:
    done: list[tuple[str, bool]] = []
    caller, both = threading.get_ident(), threading.Barrier(2, timeout=LONG_S)

    def work(name: str) -> str:
        done.append((name, threading.get_ident() == caller))
        return name

    def together(name: str) -> None:
        both.wait()  # two lanes, or none
        work(name)
        time.sleep(0.1 if (threading.get_ident() == caller) == (slow == "caller") else 0)

    with admission.admitted(admission.VERIFY) as lanes:
        answer = lanes.beside(lambda: work("beside"))
        assert lanes.spread(lambda cores: cores) == 2
        assert done == []
        lanes.run([partial(together, "a"), partial(together, "b")])
        assert answer() == "beside"
        assert sorted(name for name, _ in done) == ["a", "b", "beside"]
        assert ("beside", slow == "helper") in done
        done.clear()
        until(lambda: elsewhere.busy() == 1)  # the second core is given back
        other = elsewhere.take(1)
        never_begun = lanes.beside(lambda: work("beside"))
        lanes.run([partial(work, "a"), partial(work, "b")])
        assert done == [("a", True), ("b", True)]
        assert never_begun() == "beside"
        assert done[2:] == [("beside", True)]
        elsewhere.give_back(other or 0)
        with pytest.raises(ZeroDivisionError):
            lanes.beside(lambda: 1 // 0)()


def test_alone_one_picture_is_finished_before_the_next_is_begun(folder: Path, elsewhere: Slots) -> None:
    done: list[str] = []

    def picture(name: str) -> None:
        done.append(name)
        lanes.run([lambda: done.append(f"{name}'s part")] * 2)

    with admission.admitted(admission.VERIFY) as lanes:
        other = elsewhere.take(1)
        lanes.run([partial(picture, "first"), partial(picture, "second")])
        elsewhere.give_back(other or 0)
    assert done == ["first", *["first's part"] * 2, "second", *["second's part"] * 2]


def test_who_gets_no_core_in_time_is_told_when_to_come_back(folder: Path, elsewhere: Slots) -> None:
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(admission.admitted(admission.VERIFY))
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool, pytest.raises(Overloaded) as refused:
            pool.submit(lambda: admission.admitted(admission.VERIFY).__enter__()).result(LONG_S)
        assert 0.15 < time.monotonic() - began < LONG_S / 2
        assert refused.value.retry_after_s >= 1
    for slot in (elsewhere.take(1), elsewhere.take(1)):
        assert slot is not None
    with pytest.raises(Overloaded), admission.admitted(admission.ENROLL):
        pass
    for slot in range(2):
        elsewhere.give_back(slot)
    with admission.admitted(admission.ENROLL):
        assert elsewhere.busy() == 1


@pytest.mark.parametrize(("urgency", "overdue_s", "told_as", "kept_out"), [(1, 60.0, 1, 3), (3, 0.1, 0, 1)])
def test_a_core_goes_to_the_more_urgent_in_another_process_and_to_the_overdue_before_all(
    folder: Path, elsewhere: Slots, urgency: int, overdue_s: float, told_as: int, kept_out: int
) -> None:
    theirs = Slots(folder, 2, admission.URGENCIES)
    slots = [elsewhere.take(1), elsewhere.take(1)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(theirs.wait, urgency, overdue_s, time.monotonic() + LONG_S)
        until(lambda: elsewhere.awaited(told_as + 1))
        elsewhere.give_back(slots[0] or 0)
        assert elsewhere.take(kept_out) is None
        waiting.result(LONG_S)
    assert not elsewhere.awaited()


HOLDS = """
import sys, time
from pathlib import Path
import django
django.setup()
from ml_models.services import admission
from ml_models.services.slots import Slots
slots = Slots(Path(sys.argv[1]), 2, admission.URGENCIES)
print(slots.take(1), flush=True)
time.sleep(60)
"""


def test_a_killed_process_holds_no_core(folder: Path, elsewhere: Slots) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == "0\n"
        assert elsewhere.busy() == 1
        holder.send_signal(signal.SIGKILL)
        holder.wait(LONG_S)
    assert elsewhere.busy() == 0


def test_where_the_folder_cannot_be_written_a_process_counts_alone(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.ML_MODELS = {**settings.ML_MODELS, "SLOTS_DIR": str(tmp_path / "file"), "SLOTS": 1}
    with admission.current.renewed(), admission.admitted(admission.VERIFY):
        assert admission.current().slots.busy() == 1


@pytest.mark.django_db
def test_side_by_side_gives_the_answers_of_one_after_another_bit_for_bit(
    folder: Path, served: EnsembleConfig, portraits: Portraits
) -> None:
    version = runtime.active()
    pictures = [portraits.eileen_collins, encoded(faceless()), portraits.grace_hopper]
    alone = Attempt()
    alone.extract(version, pictures, ONE_LANE)
    with admission.admitted(admission.VERIFY) as lanes:
        beside = Attempt()
        beside.extract(version, pictures, lanes)
        faceless_only = Attempt()
        with pytest.raises(NoFaceFound):
            faceless_only.extract(version, [pictures[1]] * 2, lanes)
    assert (len(beside.frames), beside.dropped) == (2, alone.dropped)
    assert [frame["frame"] for frame in faceless_only.dropped] == [0, 1]
    for mine, theirs in zip(beside.frames, alone.frames, strict=True):
        assert list(mine.vectors) == list(version.pipeline.members)
        assert list(mine.timings_ms) == list(theirs.timings_ms)
        assert mine.quality == theirs.quality
        assert mine.norms == theirs.norms
        for name, vector in theirs.vectors.items():
            np.testing.assert_array_equal(mine.vectors[name], vector)


@pytest.mark.django_db
def test_a_refusal_leaves_no_event_and_counts_for_nothing(
    folder: Path, people: list[str], service: Any, portraits: Portraits
) -> None:
    events, rows = AuditEvent.objects.count(), Verification.objects.count()
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(admission.admitted(admission.VERIFY))
        with pytest.raises(Overloaded):
            services.verify(services.NOBODY, people[0], [portraits.eileen_collins])
        answer = verify(service, people[0], portraits.eileen_collins)
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert int(answer["Retry-After"]) >= 1
        assert enroll(service, people[0], portraits.grace_hopper).json()["code"] == "overloaded"
    assert (AuditEvent.objects.count(), Verification.objects.count()) == (events, rows)
    assert verify(service, people[0], portraits.eileen_collins).json()["decision"] == "match"
