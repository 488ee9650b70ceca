"""Enrolling the crowd through the service, and what every version must answer, computed with the engine alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from devstack.drill.people import People, Photo
from devstack.state import say
from ml_models import rollouts, runtime, services
from ml_models.engine.compare import by_member
from ml_models.engine.errors import EngineError
from ml_models.engine.fuse import Fusion
from ml_models.engine.types import Decision, Embeddings, Extraction
from ml_models.exceptions import ServiceError
from ml_models.versions import numbers

THREADS = 2


def enroll(people: People, wanted: int) -> list[Photo]:
    """Enrol photos until `wanted` references are there; the ones that the service refuses are left out."""
    done: list[Photo] = []
    left = iter(people.references)
    with ThreadPoolExecutor(THREADS) as pool:
        while len(done) < wanted and (batch := list(islice(left, min(200, wanted - len(done))))):
            done += [photo for photo in pool.map(_enroll, batch) if photo]
            say(f"    {len(done)} of {wanted} references")
    return done


def _enroll(photo: Photo) -> Photo | None:
    from django.db import connection

    try:
        services.enroll(services.NOBODY, photo.subject, photo.read())
    except (ServiceError, EngineError):
        return None
    finally:
        connection.close()
    return photo


@dataclass(frozen=True, slots=True)
class Offline:
    """Every template and probe, embedded by the engine from the photos; nothing of it comes from the database."""

    templates: Mapping[str, Mapping[str, Embeddings]]
    probes: Mapping[Photo, Extraction]
    rules: dict[int, Fusion]

    def decide(self, photo: Photo, subject: str, version: int) -> Decision:
        rule = self.rules[version]
        probe = self.probes[photo]
        template, frames = self.templates[subject], by_member([probe])
        names = [member.name for member in rule.members]
        return rule.judge(
            {name: template[name] for name in names}, {name: frames[name] for name in names}, probe.quality.score
        )


def offline(enrolled: list[Photo], probes: list[Photo], versions: Iterable[int]) -> Offline:
    """Embed everything again, with the networks of the last of the versions, which has them all."""
    configs = [rollouts.get_config(version) for version in versions]
    pipeline = runtime.served(configs[-1].pk).pipeline
    at_enrolment = numbers.quality_limits(configs[-1], "enroll")

    def probe(photo: Photo) -> Extraction | None:
        try:
            return pipeline.extract(photo.read(), numbers.quality_limits(configs[-1], "verify"))
        except EngineError:
            return None

    with ThreadPoolExecutor(THREADS) as pool:
        references = list(pool.map(lambda photo: pipeline.extract(photo.read(), at_enrolment, True), enrolled))
        shown = dict(zip(probes, pool.map(probe, probes), strict=True))
    by_subject: dict[str, list[Extraction]] = {}
    for photo, extraction in zip(enrolled, references, strict=True):
        by_subject.setdefault(photo.subject, []).append(extraction)
    templates = {subject: by_member(faces) for subject, faces in by_subject.items()}
    usable = {photo: face for photo, face in shown.items() if face and photo.subject in templates}
    return Offline(templates, usable, {config.version: numbers.fusion(config) for config in configs})
