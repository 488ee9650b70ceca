"""Identification on rosters beside verify, timed in turn, and the memory over many of them."""

from __future__ import annotations

import io
import statistics
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from devstack.bench import crowd
from devstack.bench.networks import Work, in_turn
from devstack.bench.service import SUBJECT, ask, ask_group, enrolled, request

ROSTERS = ((500, 1), (1000, 3))
"""Candidates, and references of each."""
GROWTH_CANDIDATES = 200


def measure(picture: bytes, runs: int, identifications: int) -> dict[str, Any]:
    """Medians of identify on each roster over verify's of the same run, and the web processes' memory after so many
    identifications over that after the first tenth."""
    with enrolled(picture) as service:
        works: dict[str, Work] = {"verify": partial(ask, service, "verify", SUBJECT, picture)}
        with searched(*ROSTERS[0]) as first, searched(*ROSTERS[1]) as second:
            for group, roster in ((first, ROSTERS[0]), (second, ROSTERS[1])):
                works[" × ".join(map(str, roster))] = partial(ask_group, service, group, picture)
            taken = in_turn(works, runs, after={})
        ms = {name: statistics.median(values) for name, values in taken.items()}
        growth = None
        if identifications:
            with searched(GROWTH_CANDIDATES, 1) as group:
                growth = crowd.growth(request("identify", _small(picture), group=group), identifications)
    verify_ms = ms.pop("verify")
    return {
        "verify_ms": verify_ms,
        "identify_ms": ms,
        "identify_to_verify": {name: value / verify_ms for name, value in ms.items()},
        "growth": growth,
    }


def _small(picture: bytes) -> bytes:
    """Of 256 pixels a side: thousands of searches are of memory, not of pixels."""
    file = io.BytesIO()
    Image.open(io.BytesIO(picture)).resize((256, 256)).save(file, "JPEG", quality=90)
    return file.getvalue()


@contextmanager
def searched(candidates: int, references: int) -> Iterator[str]:
    """A group of the subject and of others, who have vectors at random and no picture, under the active version."""
    from ml_models import crypto, selectors, services
    from ml_models.models import Embedding, Group, Reference, Subject
    from ml_models.services import groups
    from ml_models.services.audit import new_key
    from ml_models.services.embeddings import sealed

    rng, group = np.random.default_rng(candidates), f"bench-{candidates}"
    own = Reference.objects.filter(subject__subject_id=SUBJECT).select_related("subject").get()
    chip = crypto.open_chip(own.pk, crypto.Owner(own.subject.pk, SUBJECT), bytes(own.chip))
    members = {
        member.space: member.artifact.contract["dimension"] for member in selectors.active_config().members.all()
    }
    others = Subject.objects.filter(subject_id__startswith=f"{group}-")
    others.delete()  # of a run that was killed
    made = [Subject(subject_id=f"{group}-{number}", audit_key=new_key()) for number in range(candidates - 1)]
    rows, embeddings = [], []
    for subject in made:
        owner = crypto.Owner(subject.pk, subject.subject_id)
        for pk in (uuid.uuid4() for _ in range(references)):
            rows.append(Reference(pk=pk, subject=subject, chip=crypto.seal_chip(pk, owner, chip), quality=own.quality))
            # as long as a network's own features are, and in any direction
            features = ((space, 20 * rng.normal(size=size) / size**0.5) for space, size in members.items())
            embeddings += [sealed(pk, owner, space, feature.astype(np.float32)) for space, feature in features]
    try:
        Subject.objects.bulk_create(made)
        Reference.objects.bulk_create(rows)
        Embedding.objects.bulk_create(embeddings, batch_size=1000)
        groups.put(services.NOBODY, group, [SUBJECT, *(subject.subject_id for subject in made)])
        yield group
    finally:
        Group.objects.filter(group_id=group).delete()
        others.delete()
