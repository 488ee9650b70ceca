"""A version's attack detector shown people and attacks from a manifest: its numbers fitted, its error rates kept as
evidence. See `evaluation.rates.presentation` and `evaluation.calibration.presentation`."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.errors import ImageError
from ..engine.pipeline import Pipeline
from ..engine.presentation import PassiveRule
from ..engine.quality import QualityLimits
from ..engine.types import Presentation, canonical_json
from ..evaluation.calibration import presentation as fitting
from ..evaluation.lists.pairs import namespace, subject_hashes
from ..evaluation.rates.presentation import BONA_FIDE, Presented, changes, rates
from ..evaluation.report.page import presentation_page
from ..exceptions import ConfigChanged, ConfigInvalid, InvalidRequest
from ..models import EnsembleConfig
from ..versions import evidence, files, numbers
from . import loading
from .calibrating import write_file
from .pictures import Watcher

COLUMNS = ("file", "subject", "session", "camera", "kind")
_KIND = re.compile(r"[a-z0-9_]{1,40}")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest; an empty session or camera is one of its own name. `person` is the subject with the
    pictures' folder, as pair lists name people: subject 001 of two sets is two people."""

    file: Path
    person: str
    subject: str
    session: str
    camera: str
    kind: str


def read(manifest: Path, images: Path) -> list[Row]:
    """A manifest's lines.

    Args:
        manifest: CSV with the columns `COLUMNS`; `kind` is `bona_fide` or the attack's species.
        images: what its files are relative to.

    Raises:
        InvalidRequest: it cannot be read, lacks a column, or a line of it is not as it should be; names the line.
    """
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise InvalidRequest(f"{manifest.name} lacks the column {', '.join(missing)}.")
            return [_row(manifest, images, number, line) for number, line in enumerate(reader, 2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{manifest.name} cannot be read: {error}.") from error


def _row(manifest: Path, images: Path, number: int, line: dict[str, str | None]) -> Row:
    texts = {name: (line[name] or "").strip() for name in COLUMNS}
    file = images / texts["file"]
    if not texts["subject"] or not _KIND.fullmatch(texts["kind"]):
        raise InvalidRequest(
            f"{manifest.name}, line {number}: a subject is needed, and a kind of small letters, digits and _: "
            f"{BONA_FIDE}, or the attack's species."
        )
    if not file.resolve().is_relative_to(images.resolve()) or not file.is_file():
        raise InvalidRequest(f"{manifest.name}, line {number}: there is no such file under {images}.")
    return Row(
        file,
        f"{namespace(images)}/{texts['subject']}",
        texts["subject"],
        texts["session"],
        texts["camera"],
        texts["kind"],
    )


def evaluate_presentation(
    config: EnsembleConfig, rows: Sequence[Row], watcher: Watcher, against: EnsembleConfig | None = None
) -> tuple[dict[str, Any], str]:
    """Measure a version's attack detector and keep the figures; the same of `against`, and compare them.

    Returns: the object of `evaluate_presentation --json`, and its page.

    Raises:
        ConfigInvalid: a version has no attack detector.
        InvalidRequest: there is nobody, or no attack, in the rows.
    """
    result, presented = _measured(config, rows, watcher)
    if against:
        _, before = _measured(against, rows, watcher)
        result["against"] = {"version": against.version, "changes": changes(before, presented)}
    return result, presentation_page(result)


def calibrate_presentation(
    config: EnsembleConfig, rows: Sequence[Row], bpcer: float, watcher: Watcher, output: Path | None = None
) -> dict[str, Any]:
    """Fit the numbers that a version judges its attack detector by, with whom they were fitted on: into a draft, and
    with `output` into a copy of its ensemble file.

    Args:
        bpcer: of the people shown, at most this share is taken for attacks.

    Returns: the object of `calibrate_presentation --json`.

    Raises:
        ConfigChanged: the version is no draft, and no output is given.
        ConfigInvalid: it has no attack detector.
        InvalidRequest: there is nobody, or no attack, in the rows.
        CannotCalibrate: see `evaluation.calibration.presentation`.
    """
    draft = config.state == EnsembleConfig.State.DRAFT
    if not draft and output is None:
        raise ConfigChanged(f"Version {config.version} is {config.state} and cannot change: give an --output FILE.")
    seen = [(row, look) for row, _, looks in _looks(config, rows, watcher) for look in looks or () if look.enough]
    bona_fide = np.array([row.kind == BONA_FIDE for row, _ in seen], np.bool_)
    calibration, threshold = fitting.fit(np.array([look.logit for _, look in seen], np.float64), bona_fide, bpcer)
    people = subject_hashes(row.person for row, _ in seen)
    passive = {**asdict(calibration), "threshold": threshold, "subjects": " ".join(people)}
    config.liveness = {**config.liveness, "passive": passive}
    if draft:
        config.save(update_fields=["liveness"])
    if output:
        write_file(output, files.export(config))
    people_seen = int(bona_fide.sum())
    counts = {"bona_fide": people_seen, "attacks": len(seen) - people_seen, "left_out": len(rows) - len(seen)}
    return {
        "config": config.version,
        **passive,
        "subjects": len(people),
        **counts,
        "stored": draft,
        "output": output and str(output),
    }


def _measured(config: EnsembleConfig, rows: Sequence[Row], watcher: Watcher) -> tuple[dict[str, Any], list[Presented]]:
    passive = numbers.passive(config)
    if passive is None:
        raise _without_detector(config)
    digest = evidence.liveness_digest(config)
    presented: list[Presented] = []
    shown: list[list[str]] = []
    for row, sha256, looks in _looks(config, rows, watcher):
        presented.append(_presented(passive, row, looks))
        shown.append([sha256, row.subject, row.session, row.camera, row.kind])
    result = {
        "config": config.version,
        "digest": digest,
        "threshold": passive.threshold,
        "subjects": len({row.subject for row in rows}),
        "sessions": len({(row.subject, row.session) for row in rows}),
        **rates(presented),
    }
    people = subject_hashes(row.person for row in rows)
    # what is shown, whatever its files are called
    manifest_digest = hashlib.sha256(canonical_json({"shown": sorted(shown)}).encode()).hexdigest()
    lines = evidence.store_presentation(config, {**result, "people": people}, manifest_digest)
    return {**result, "evidence": [asdict(line) for line in lines]}, presented


def _looks(
    config: EnsembleConfig, rows: Sequence[Row], watcher: Watcher
) -> Iterator[tuple[Row, str, list[Presentation] | None]]:
    """The sha256 of each picture, and what the version's attack detector says of it; None where no face in it can be
    used.

    Raises:
        ConfigInvalid, InvalidRequest: see `evaluate_presentation`.
    """
    if not config.attack_detectors:
        raise _without_detector(config)
    kinds = {row.kind for row in rows}
    if BONA_FIDE not in kinds or len(kinds) < 2:
        raise InvalidRequest(f"A manifest needs rows of {BONA_FIDE} and of at least one attack.")
    pipeline, limits = loading.pipeline(config), numbers.quality_limits(config, "verify")
    progress = watcher.progress(f"showing presentations to version {config.version}")
    for number, row in enumerate(rows, 1):
        data = row.file.read_bytes()
        yield row, hashlib.sha256(data).hexdigest(), _look(pipeline, limits, data)
        progress(number, len(rows))


def _look(pipeline: Pipeline, limits: QualityLimits, data: bytes) -> list[Presentation] | None:
    try:
        seen = pipeline.extract(data, limits).presentation
    except ImageError:
        return None
    return [seen] if seen else []


def _without_detector(config: EnsembleConfig) -> ConfigInvalid:
    return ConfigInvalid([f"Version {config.version} has no network that looks for presentation attacks."])


def _presented(passive: PassiveRule, row: Row, looks: Sequence[Presentation] | None) -> Presented:
    if looks is None:
        return Presented(row.subject, row.camera, row.kind, "no_response", None)
    verdict, score = passive.judge(looks)
    return Presented(row.subject, row.camera, row.kind, verdict, score)
