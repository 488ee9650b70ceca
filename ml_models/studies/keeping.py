"""Reports kept beside the version they are on: measured here, or shipped with the version's file.

A shipped report is `v2.report.json` beside `v2.yaml`: the figures of a cross-validated evaluation. It names no person
and no picture, and it has no hashes of any, so that it can be published with the version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError

from ..evaluation.report.page import page
from ..exceptions import ConfigInvalid
from ..models import EnsembleConfig
from ..versions import evidence
from ..versions.known import known

MAX_BYTES = 1_000_000
"""A shipped report is some hundred kilobytes."""
_LOCAL = ("timing", "evidence")
_AGAIN = "Run `make accuracy` for the version, or take the file away (load_ensemble --no-report)."


def keep(
    config: EnsembleConfig, data: Mapping[str, Any], measured_on: Mapping[str, Any], draws: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """Keep a report with its page. Returns: the report's object, the evidence for the version in it; and the page.

    Raises:
        jinja2.UndefinedError: a figure that the page shows is missing.
    """
    row = evidence.store(config, data, "", data["list_digest"], measured_on, draws)
    # what the report itself proves is part of what it says
    whole = {**data, "evidence": [asdict(line) for line in evidence.lines(config)]}
    html = page(whole)
    row.data, row.html = whole, html
    row.save(update_fields=["data", "html"])
    return whole, html


def shipped_beside(file: Path) -> Path:
    """Where the report of an ensemble file is."""
    return file.with_suffix(".report.json")


def ship(data: Mapping[str, Any], lacks: Sequence[str], file: Path) -> Path:
    """Write a report beside an ensemble file.

    Args:
        data: the object of `evaluate --cross-validate`.
        lacks: sentences: on whom and what nobody measured the version.
    """
    figures = {key: value for key, value in data.items() if key not in _LOCAL}
    # pairs are named by the hashes of their files: of use to who has the pictures, not to who gets the version
    figures |= {"worst": {kind: [] for kind in data["worst"]}, "lacks": list(lacks)}
    lines = (f"{json.dumps(key)}:{_compact(value)}" for key, value in figures.items())
    path = shipped_beside(file)
    path.write_text("{" + ",\n".join(lines) + "}\n")
    return path


def load_shipped(config: EnsembleConfig, path: Path) -> str:
    """Keep the report that ships with a version.

    Returns: `created`, `updated`, or `unchanged` when it is there, or one with more: measured here on the same.

    Raises:
        ConfigInvalid: it is no cross-validated report of this build, or not on what the version decides with.
    """
    data = _read(path)
    _require_of(config, data, path)
    kept = config.reports.filter(digest=data["digest"], list_digest=data["list_digest"]).first()
    if kept and (kept.draws or {key: value for key, value in kept.data.items() if key not in _LOCAL} == data):
        return "unchanged"
    try:
        keep(config, data, {"lists": data["about"]["lists"], "people": data["about"]["people"]}, {})
        known(config)  # what pages and commands say of it later
    except (UndefinedError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigInvalid([f"{path.name} has not the figures that this build shows ({error}). {_AGAIN}"]) from error
    return "updated" if kept else "created"


def _read(path: Path) -> dict[str, Any]:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ConfigInvalid([f"{path.name} has {size:,} bytes; a report has at most {MAX_BYTES:,}. {_AGAIN}"])
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigInvalid([f"{path.name} cannot be read: {error}. {_AGAIN}"]) from error
    needed = {"digest", "list_digest", "cross_validated", "about", "lacks"}
    if not isinstance(data, dict) or (missing := needed - data.keys()):
        lacking = ", ".join(sorted(missing)) if isinstance(data, dict) else "an object"
        raise ConfigInvalid([f"{path.name} is not a report: it lacks {lacking}. {_AGAIN}"])
    return data


def _require_of(config: EnsembleConfig, data: Mapping[str, Any], path: Path) -> None:
    if not data["cross_validated"]:
        raise ConfigInvalid(
            [
                f"{path.name} is not cross-validated. Evidence from people who took no part is measured here, by "
                f"evaluate; it does not come with a file. {_AGAIN}"
            ]
        )
    if data["digest"] != (digest := evidence.config_digest(config)):
        raise ConfigInvalid(
            [
                f"{path.name} is a report on other numbers or files (digest {str(data['digest'])[:12]}) than version "
                f"{config.version} decides with (digest {digest[:12]}). {_AGAIN}"
            ]
        )


def _compact(value: Any) -> str:
    return json.dumps(_rounded(value), separators=(",", ":"), ensure_ascii=False)


def _rounded(value: Any) -> Any:
    """Five digits: an interval says less."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
