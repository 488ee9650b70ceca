"""Who is enrolled and who is shown: photographs of people, read when needed, never copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devstack.dev_eval import DATA

PHOTOS = DATA / "lfw" / "images"
_MOST_REFERENCES = 5
EVERY_IMPOSTOR = 3
"""One probe in so many is shown as somebody else."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture of somebody; `subject` is a made-up id that does not say who."""

    subject: str
    path: Path

    def read(self) -> bytes:
        return self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class People:
    """`references` in rounds, everybody's first photo first; `probes` are other photos of some of them."""

    references: list[Photo]
    probes: list[Photo]
    first: list[Photo]
    """Everybody's first photo."""


def people() -> People:
    """Everybody in the folder; whoever has two photos or more keeps the last one as a probe."""
    rounds: list[list[Photo]] = [[] for _ in range(_MOST_REFERENCES)]
    probes = []
    for number, folder in enumerate(sorted(path for path in PHOTOS.iterdir() if path.is_dir())):
        photos = [Photo(f"drill-{number}", path) for path in sorted(folder.glob("*.jpg"))]
        if len(photos) > 1:
            probes.append(photos.pop())
        for turn, photo in zip(rounds, photos, strict=False):
            turn.append(photo)
    return People([photo for turn in rounds for photo in turn], probes, rounds[0])


def attempts(probes: list[Photo], enrolled: list[str]) -> Iterator[tuple[Photo, str]]:
    """Without end: a probe and whose face it is said to be, two mated ones, then an impostor; no subject too often."""
    turn = 0
    while True:
        for place, photo in enumerate(probes):
            if place % EVERY_IMPOSTOR == EVERY_IMPOSTOR - 1:
                turn += 1
                claimed = enrolled[(turn * 7) % len(enrolled)]
                yield photo, claimed if claimed != photo.subject else enrolled[(turn * 7 + 1) % len(enrolled)]
            else:
                yield photo, photo.subject
