"""A roster's templates are the ones that verify has for each of its subjects, however they were sealed."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from ml_models import crypto, selectors
from ml_models.exceptions import CryptoError
from ml_models.models import Embedding, EnsembleConfig, EnsembleMember, Reference, Subject
from ml_models.services import rosters
from ml_models.services.embeddings import sealed
from ml_models.services.rosters import Roster
from tests.support.keys import keyset

pytestmark = pytest.mark.django_db

RNG = np.random.default_rng(17)


def add_reference(subject_id: str, members: list[EnsembleMember], overridden: bool = False) -> None:
    subject, _ = Subject.objects.get_or_create(subject_id=subject_id)
    owner, pk = crypto.Owner(subject.pk, subject_id), uuid.uuid4()
    Reference.objects.create(
        pk=pk, subject=subject, chip=crypto.seal_chip(pk, owner, b"chip"), quality={}, overridden=overridden
    )
    for member in members:
        feature = RNG.normal(size=member.artifact.contract["dimension"]).astype(np.float32)
        sealed(pk, owner, member.space, feature).save(force_insert=True)


@pytest.fixture
def mixed(served: EnsembleConfig, settings: Settings) -> EnsembleConfig:
    """child-1 to child-4 under keys and bindings of several times; child-4 and a reference of child-2 are not embedded
    whole yet."""
    config = selectors.active_config()
    members = list(config.members.all())
    old = json.loads(settings.ML_MODELS["KEYSET"])["keys"]
    add_reference("child-3", members)
    add_reference("child-1", members)
    settings.ML_MODELS = {**settings.ML_MODELS, "KEYSET": keyset("another-key", "another-key", **old)}
    add_reference("child-1", members)
    add_reference("child-2", members)
    settings.ML_MODELS = {**settings.ML_MODELS, "BINDING": "introduce"}  # of before a vector named its subject
    add_reference("child-2", members)
    settings.ML_MODELS = {**settings.ML_MODELS, "BINDING": "bind"}
    add_reference("child-2", members[1:], overridden=True)
    add_reference("child-4", members[:-1])
    assert len({bytes(vector)[:2] for vector in Embedding.objects.values_list("vector", flat=True)}) == 3
    return config


@pytest.mark.parametrize("together", [1, 4, 100])
def test_everybody_has_the_template_that_verify_has_for_them(
    mixed: EnsembleConfig, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(rosters, "_TOGETHER", together)
    roster = rosters.read(["child-4", "child-2", "nobody", "child-1", "child-3"], mixed)
    assert (roster.not_enrolled, roster.not_embedded) == (1, 1)
    assert [(one.subject_id, one.overridden) for one in roster.candidates] == [
        ("child-1", False),
        ("child-2", True),
        ("child-3", False),
    ]
    assert roster.templates.counts.tolist() == [2, 2, 1]
    require_as_verify_has_them(roster, mixed)


def require_as_verify_has_them(roster: Roster, config: EnsembleConfig) -> None:
    for at, one in enumerate(roster.candidates):
        alone = selectors.template(one.subject_id, config)
        assert alone is not None
        assert one.subject == alone.subject
        own = roster.templates.take(np.array([at])).embeddings
        first = next(iter(alone.embeddings))
        # in any order, the same for every member
        order = [int(np.argmax(own[first].vectors @ vector)) for vector in alone.embeddings[first].vectors]
        for name, theirs in alone.embeddings.items():
            assert np.array_equal(own[name].vectors[order], theirs.vectors)
            assert np.array_equal(own[name].norms[order], theirs.norms)


def test_the_nearest_of_a_roster_are_completed_in_their_order_without_what_was_erased_meanwhile(
    mixed: EnsembleConfig,
) -> None:
    members = [member.artifact.name for member in mixed.members.all()]
    roster = rosters.read(["child-1", "child-2", "child-3", "child-4"], mixed, members[1])
    assert [*roster.templates.embeddings] == [members[1]]
    near = rosters.completed(roster, np.array([2, 0, 1]), mixed)
    assert [one.subject_id for one in near.candidates] == ["child-3", "child-1", "child-2"]
    assert [*near.templates.embeddings] == members
    assert near.templates.counts.tolist() == [1, 2, 2]
    require_as_verify_has_them(near, mixed)
    Reference.objects.get(pk=roster.candidates[0].references[0]).delete()
    Subject.objects.get(subject_id="child-3").delete()
    near = rosters.completed(roster, np.array([2, 0]), mixed)
    assert [one.subject_id for one in near.candidates] == ["child-1"]
    assert near.templates.counts.tolist() == [1]
    require_as_verify_has_them(near, mixed)


def test_of_the_nearest_a_vector_that_is_anothers_is_refused(mixed: EnsembleConfig) -> None:
    foremost, other, *_ = mixed.members.all()
    roster = rosters.read(["child-1", "child-2"], mixed, foremost.artifact.name)
    of_both = Embedding.objects.filter(space=other.space)
    mine, theirs = (of_both.get(reference__pk=one.references[0]) for one in roster.candidates)
    mine.vector, theirs.vector = theirs.vector, mine.vector
    mine.save()
    theirs.save()
    with pytest.raises(CryptoError):
        rosters.completed(roster, np.array([0]), mixed)


@pytest.mark.django_db(transaction=True)
def test_a_reading_that_fails_half_way_leaves_the_connection_as_it_was(
    served: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters, "_TOGETHER", 1)
    config = selectors.active_config()
    for number in range(5):
        add_reference(f"child-{number}", list(config.members.all()))
    whole = bytes(Embedding.objects.filter(reference__subject__subject_id="child-1")[0].vector)
    broken = Embedding.objects.filter(reference__subject__subject_id="child-1")
    broken.update(vector=whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CryptoError):
        rosters.read([f"child-{number}" for number in range(5)], config)
    others = rosters.read(["child-0", "child-2", "child-3"], config)
    assert [one.subject_id for one in others.candidates] == ["child-0", "child-2", "child-3"]


def test_a_roster_is_looked_up_by_keys_and_no_subject_is_compared_with_every_id(
    served: EnsembleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans, stream = [], psycopg.Cursor.stream

    def explained(cursor: psycopg.Cursor[Any], query: str, asked: dict[str, Any], **how: Any) -> Iterator[Any]:
        cursor.execute("EXPLAIN " + query, asked)
        plans.append("\n".join(line for (line,) in cursor))
        return stream(cursor, query, asked, **how)

    config = selectors.active_config()
    monkeypatch.setattr(psycopg.Cursor, "stream", explained)
    with connection.cursor() as cursor:
        # as if it took the tables for small enough to be joined
        cursor.execute("SET LOCAL enable_nestloop = off")
    for many in (300, 10_000):
        ids = [f"{many}-{number}" for number in range(many)]
        Subject.objects.bulk_create(Subject(subject_id=subject_id) for subject_id in ids)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE ml_models_subject")
        rosters.read(ids[:200], config)
    few, more = plans
    assert "= ANY" not in few + more
    assert not re.search("(Hash|Merge) (Left )?Join", few + more)
    assert "Seq Scan on ml_models_subject" not in more


def test_nobody_is_found_where_nobody_can_be_searched(served: EnsembleConfig) -> None:
    config = selectors.active_config()
    add_reference("child-1", [])
    roster = rosters.read(["child-1", "nobody"], config)
    assert (roster.candidates, len(roster.templates), roster.not_enrolled, roster.not_embedded) == ((), 0, 1, 1)
    assert rosters.read([], config).candidates == ()
