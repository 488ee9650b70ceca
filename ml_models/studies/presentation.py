"""A version shown people and attacks from a manifest: its error rates, kept as evidence. See
`evaluation.rates.presentation`."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..engine.errors import ImageError
from ..engine.pipeline import Pipeline
from ..engine.presentation import PassiveRule
from ..engine.quality import QualityLimits
from ..engine.types import canonical_json
from ..evaluation.rates.presentation import BONA_FIDE, Presented, changes, rates
from ..evaluation.report.page import presentation_page
from ..exceptions import ConfigInvalid, InvalidRequest
from ..models import EnsembleConfig
from ..versions import evidence, numbers
from . import loading
from .pictures import Watcher

COLUMNS = ("file", "subject", "session", "camera", "kind")
_KIND = re.compile(r"[a-z0-9_]{1,40}")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest; an empty session or camera is one of its own name."""

    file: Path
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
    return Row(file, texts["subject"], texts["session"], texts["camera"], texts["kind"])


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


def _measured(config: EnsembleConfig, rows: Sequence[Row], watcher: Watcher) -> tuple[dict[str, Any], list[Presented]]:
    passive = numbers.passive(config)
    if passive is None:
        raise ConfigInvalid([f"Version {config.version} has no network that looks for presentation attacks."])
    kinds = {row.kind for row in rows}
    if BONA_FIDE not in kinds or len(kinds) < 2:
        raise InvalidRequest(f"A manifest needs rows of {BONA_FIDE} and of at least one attack.")
    digest = evidence.liveness_digest(config)
    pipeline, limits = loading.pipeline(config), numbers.quality_limits(config, "verify")
    progress = watcher.progress(f"showing presentations to version {config.version}")
    presented, shown = [], []
    for number, row in enumerate(rows, 1):
        data = row.file.read_bytes()
        presented.append(_presented(pipeline, limits, passive, row, data))
        shown.append([hashlib.sha256(data).hexdigest(), row.subject, row.session, row.camera, row.kind])
        progress(number, len(rows))
    result = {
        "config": config.version,
        "digest": digest,
        "threshold": passive.threshold,
        "subjects": len({row.subject for row in rows}),
        "sessions": len({(row.subject, row.session) for row in rows}),
        **rates(presented),
    }
    manifest_digest = hashlib.sha256(canonical_json({"shown": sorted(shown)}).encode()).hexdigest()
    lines = evidence.store_presentation(config, result, manifest_digest)
    return {**result, "evidence": [asdict(line) for line in lines]}, presented


def _presented(pipeline: Pipeline, limits: QualityLimits, passive: PassiveRule, row: Row, data: bytes) -> Presented:
    try:
        seen = pipeline.extract(data, limits).presentation
    except ImageError:
        return Presented(row.subject, row.camera, row.kind, "no_response", None)
    verdict, score = passive.judge([seen] if seen else [])
    return Presented(row.subject, row.camera, row.kind, verdict, score)
