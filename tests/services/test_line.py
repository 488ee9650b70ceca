"""The queue for cores: its order, and whom it refuses at once."""

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from ml_models.exceptions import Overloaded
from ml_models.services.line import Line

LONG_S = 60.0
HOLD_S = 0.02


@pytest.fixture
def measured() -> Callable[..., Line]:
    """A line that knows what a place is held for."""

    def make(places: int, hold_s: float = HOLD_S) -> Line:
        line = Line(places)
        turn = line.join(1, LONG_S, _nobody)
        time.sleep(hold_s)
        line.leave(turn)
        return line

    return make


def _nobody() -> None:
    raise AssertionError("who is served at once is not woken")


def test_the_more_urgent_go_first_and_of_one_kind_whose_patience_ends_first() -> None:
    line, order = Line(1), list[str]()
    first = line.join(1, LONG_S, _nobody)
    waiting = [
        line.join(kind, patience_s, lambda name=name: order.append(name))  # type: ignore[misc]
        for name, kind, patience_s in (
            ("enrolment", 2, 30.0),
            ("patient verify", 1, 40.0),
            ("verify", 1, 30.0),
            ("gone", 1, 10.0),
            ("re-embedding", 3, float("inf")),
        )
    ]
    assert first.since is not None
    assert line.waiting == 5
    line.leave(waiting[3])
    turn = first
    for expected in ("verify", "patient verify", "enrolment", "re-embedding"):
        line.leave(turn)
        line.leave(turn)  # a second time gives nobody a place
        assert order[-1] == expected
        turn = waiting[["enrolment", "patient verify", "verify", "gone", "re-embedding"].index(expected)]
    assert line.waiting == 0
    line.leave(turn)
    assert len(order) == 4
    line.join(1, LONG_S, _nobody)


def test_while_the_more_urgent_keep_coming_every_fourth_place_is_for_who_has_waited_long() -> None:
    line, order = Line(1), ["first"]
    turns = {"first": line.join(1, LONG_S, _nobody)}

    def join(name: str, kind: int, long_s: float) -> None:
        turns[name] = line.join(kind, LONG_S, lambda: order.append(name), long_s)

    join("shadow", 3, float("inf"))
    join("enrolment", 2, 0.01)
    join("newer enrolment", 2, 30.0)
    time.sleep(0.02)
    for number in range(10):
        join(f"verify {number}", 1, 30.0)
        line.leave(turns[order[-1]])
    assert [name.partition(" ")[0] for name in order[1:]] == ["verify"] * 3 + ["enrolment"] + ["verify"] * 6


def test_who_would_wait_longer_than_its_patience_is_refused_at_once(measured: Callable[..., Line]) -> None:
    line = measured(1)
    held = line.join(1, LONG_S, _nobody)
    patience_s = 3 * HOLD_S  # a place was held for a little more than HOLD_S
    for _ in range(2):
        line.join(1, patience_s, lambda: None)
    with pytest.raises(Overloaded) as refused:
        line.join(1, patience_s, lambda: None)
    assert refused.value.retry_after_s == 1
    with pytest.raises(Overloaded):
        line.ask(1, patience_s)
    line.ask(1, 5 * HOLD_S)
    line.ask(0, patience_s)  # the others would wait for this one
    line.join(3, float("inf"), lambda: None)  # is never refused
    assert line.waiting == 3
    line.leave(held)
    assert line.waiting == 2


def test_a_burst_waits_and_a_flood_is_refused(measured: Callable[..., Line]) -> None:
    line = measured(2)
    for _ in range(2):
        line.join(1, LONG_S, _nobody)
    burst = [line.join(1, LONG_S, lambda: None) for _ in range(20)]
    assert line.waiting == len(burst)
    refused = 0
    for _ in range(1000):
        try:
            line.leave(line.join(1, LONG_S, lambda: None))
        except Overloaded:
            refused += 1
    # so many could have been served within two seconds, and as many again; the others were too many
    assert refused >= 1000 - 2.1 * 2 * 2.0 / HOLD_S
    for turn in burst:
        line.leave(turn)


def test_in_a_flood_one_waits_for_each_place_that_is_about_to_be_free(measured: Callable[..., Line]) -> None:
    hold_s = 0.4
    line = measured(2, hold_s)
    for _ in range(2):
        line.join(1, LONG_S, _nobody)
    for _ in range(100):  # far more than two places serve in two seconds
        with suppress(Overloaded):
            line.leave(line.join(1, LONG_S, lambda: None))
    with pytest.raises(Overloaded):
        line.join(1, LONG_S, lambda: None)
    time.sleep(0.8 * hold_s)
    for _ in range(2):
        line.join(1, LONG_S, lambda: None)
    with pytest.raises(Overloaded):
        line.join(1, LONG_S, lambda: None)


def test_a_refusal_does_not_reckon_with_those_who_have_gone(measured: Callable[..., Line]) -> None:
    line = measured(1, 0.1)
    line.join(1, LONG_S, _nobody)
    line.join(1, LONG_S, lambda: None)  # goes before those who leave, and stays
    for _ in range(30):
        line.leave(line.join(2, LONG_S, lambda: None))
    assert line.refusal().retry_after_s == 1
