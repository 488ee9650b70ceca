"""References that cannot be embedded: tried again where that may help, allowed up to a limit, and told by people."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client

from ml_models import rollouts, runtime, signals, tasks
from ml_models.engine.errors import InferenceFailed
from ml_models.exceptions import NotReady
from ml_models.models import EnsembleConfig, Reference, Rollout, RolloutChunk, RolloutFailure
from ml_models.rollouts import advancing, backfill, leasing
from ml_models.rollouts.progress import progress
from ml_models.services import embeddings
from tests.conftest import Portraits
from tests.support.panel import page
from tests.support.pictures import another
from tests.support.uploads import enroll
from tests.support.work import work_off

pytestmark = pytest.mark.django_db


class Hiccups:
    """A network that fails on its first faces."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int, error: Exception | None = None) -> None:
        self.left, self._error = times, error or InferenceFailed("out of memory")
        self._embed = embeddings.embed_crop
        monkeypatch.setattr(embeddings, "embed_crop", self.embed)

    def embed(self, *args: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self._error
        return self._embed(*args)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again without a pause."""
    monkeypatch.setattr(leasing, "RETRY_AFTER", timedelta(0))


@pytest.fixture
def finished() -> Any:
    """What hosts were told of rollouts that are over."""
    heard: list[dict[str, Any]] = []

    def listen(**facts: Any) -> None:
        heard.append({key: facts[key] for key in ("version", "state", "left_behind")})

    signals.rollout_finished.connect(listen)
    yield heard
    signals.rollout_finished.disconnect(listen)


def open_here(config: EnsembleConfig, **options: Any) -> Rollout:
    rollout = rollouts.open_rollout(config, **options)
    runtime.refresh()
    return rollout


def state_of(rollout: Rollout) -> str:
    return rollouts.get_rollout(rollout.pk).state


def test_what_failed_for_a_passing_reason_is_tried_again_within_the_rollout(
    mirrored: EnsembleConfig, monkeypatch: pytest.MonkeyPatch, finished: Any, django_capture_on_commit_callbacks: Any
) -> None:
    Hiccups(monkeypatch, 2)  # both references, once
    rollout = open_here(mirrored)
    work_off()
    waits = progress(rollouts.get_rollout(rollout.pk))
    assert (waits.state, waits.missing, waits.failures) == ("embedding", 6, {})
    assert waits.reason == "2 references failed for a reason that may pass. They are tried again within a minute."

    monkeypatch.setattr(leasing, "RETRY_AFTER", timedelta(0))
    with django_capture_on_commit_callbacks(execute=True):
        work_off()
    assert state_of(rollout) == "complete"
    assert not RolloutFailure.objects.exists()
    assert finished == [{"version": 3, "state": "complete", "left_behind": 0}]


def test_it_is_given_up_after_three_tries_and_beyond_the_limit_the_rollout_fails(
    mirrored: EnsembleConfig, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    network = Hiccups(monkeypatch, 1000)
    rollout = open_here(mirrored)
    work_off()
    assert (state_of(rollout), 1000 - network.left) == ("failed", 2 * RolloutFailure.MAX_TRIES)
    reason = rollouts.get_rollout(rollout.pk).reason
    assert "2 references could not be embedded (inference_failed: 2); 1 are allowed. Enrol their subjects" in reason


def test_a_network_that_fails_on_everybody_stops_the_rollout_before_everybody_was_tried(
    mirrored: EnsembleConfig, monkeypatch: pytest.MonkeyPatch, at_once: None, service: Any, portraits: Portraits
) -> None:
    for number in range(3, 7):
        enroll(service, f"child-{number}", portraits.eileen_collins)
    monkeypatch.setattr(leasing, "CHUNK_S", 0.0)  # so that a chunk is one reference, once the pace is known
    monkeypatch.setattr(leasing, "FIRST_CHUNK", 1)
    network = Hiccups(monkeypatch, 1000)
    rollout = open_here(mirrored)
    work_off()
    assert state_of(rollout) == "failed"
    assert rollout.failures.count() < Reference.objects.count()
    assert network.left


@pytest.mark.parametrize("error", [NotReady("let go"), OperationalError("the server closed the connection")])
def test_a_network_let_go_of_or_a_database_that_hiccups_counts_against_nobody(
    mirrored: EnsembleConfig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    times = leasing.MAX_ATTEMPTS + 1
    Hiccups(monkeypatch, times, error)
    rollout = open_here(mirrored)
    [chunk] = rollouts.advance()
    for _ in range(times):
        with pytest.raises(type(error)):
            backfill.embed_chunk(chunk)
        assert rollouts.advance() == [chunk]  # free again at once
    assert backfill.embed_chunk(chunk)
    work_off()
    assert state_of(rollout) == "complete"
    assert not RolloutFailure.objects.exists()


def test_but_not_for_ever(mirrored: EnsembleConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    Hiccups(monkeypatch, 1000, NotReady("let go"))
    rollout = open_here(mirrored)
    rollouts.advance()
    for _ in range(advancing.MAX_REFUSALS):
        chunk = RolloutChunk.objects.get()
        tasks.embed_chunk(str(chunk.pk))
        rollouts.advance()
    assert state_of(rollout) == "failed"
    assert "Workers gave chunks back 8 times in a row" in rollouts.get_rollout(rollout.pk).reason


@pytest.mark.parametrize(("share", "ends"), [(0.001, "complete"), (0, "failed")])
def test_one_damaged_chip_among_few_stops_nothing_unless_none_may_be_left_and_is_told(
    mirrored: EnsembleConfig,
    settings: Any,
    capsys: Any,
    finished: Any,
    django_capture_on_commit_callbacks: Any,
    share: float,
    ends: str,
) -> None:
    settings.ML_MODELS = {**settings.ML_MODELS, "FAILURES_ALLOWED": share}
    Reference.objects.filter(subject__subject_id="child-1").update(chip=b"damaged")
    rollout = open_here(mirrored)
    with django_capture_on_commit_callbacks(execute=True):
        work_off()
    assert state_of(rollout) == ends
    assert finished == [{"version": 3, "state": ends, "left_behind": int(ends == "complete")}]
    call_command("rollout", "status", "--failures")
    out = capsys.readouterr().out
    assert "enrol child-1 again: decryption_failed" in out
    assert ("People left behind: 1." in out) is (ends == "complete")


def test_a_person_with_another_reference_is_not_left_behind(
    mirrored: EnsembleConfig, service: Any, portraits: Portraits, finished: Any, django_capture_on_commit_callbacks: Any
) -> None:
    Reference.objects.filter(subject__subject_id="child-1").update(chip=b"damaged")
    enroll(service, "child-1", another(portraits.eileen_collins))
    rollout = open_here(mirrored)
    with django_capture_on_commit_callbacks(execute=True):
        work_off()
    assert (state_of(rollout), finished[0]["left_behind"]) == ("complete", 0)
    assert rollout.failures.count() == 1


def test_the_panel_says_before_go_and_afterwards_how_many_people_are_left_behind(
    mirrored: EnsembleConfig, admin_client: Client
) -> None:
    Reference.objects.filter(subject__subject_id="child-1").update(chip=b"damaged")
    rollout = open_here(mirrored, hold_for_approval=True)
    work_off()
    facts = admin_client.get(page("rollout", "go", rollout.pk)).context["asked"].facts
    assert facts[0] == ("People left behind, to be enrolled again", "1")
    admin_client.post(page("rollout", "go", rollout.pk))
    assert (
        "People left behind: 1. None of their references"
        in admin_client.get(page("rollout", "change", rollout.pk)).text
    )
    assert "People left behind: 1." in admin_client.get(page("rollout", "changelist")).text


def test_the_panel_lists_whom_to_enrol_again_and_not_what_is_tried_again(
    mirrored: EnsembleConfig, admin_client: Client
) -> None:
    rollout = open_here(mirrored)
    first, second = Reference.objects.order_by("subject__subject_id")
    RolloutFailure.objects.create(rollout=rollout, reference=first, code="unreadable_chip")
    RolloutFailure.objects.create(rollout=rollout, reference=second, code="inference_failed")
    text = admin_client.get(page("rolloutfailure", "changelist")).text
    assert ("child-1" in text, "child-2" in text) == (True, False)
