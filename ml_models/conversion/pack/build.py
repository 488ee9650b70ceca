"""Builds the catalogue's artifacts: fetch, convert, stamp, check against the pinned hash, cache by content."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml_models.engine.graph import read_metadata

from ..errors import ConversionError
from . import sources
from .catalogue import Catalogue, Entry
from .sources import Progress


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """One artifact ready to publish; `built` is False when it came from the cache."""

    path: Path
    entry: Entry
    sha256: str
    matches_pin: bool
    built: bool

    @property
    def publish_name(self) -> str:
        """The entry's name, or one of its own when other tools made other bytes than the pinned ones."""
        return self.entry.name if self.matches_pin else f"{self.entry.name}-{self.sha256[:8]}"


def build(catalogue: Catalogue, names: Collection[str], cache_dir: Path, progress: Progress) -> list[BuiltFile]:
    """Build the named artifacts, or all of them when `names` is empty, in the catalogue's order.

    A pinned file that lies in the cache is taken as it is: nothing is fetched and no converter is imported.

    Raises: ConversionError; `unknown_artifact` for a name that the catalogue does not have.
    """
    if unknown := set(names) - set(catalogue.entries):
        raise ConversionError(
            "unknown_artifact",
            f"Not in the catalogue: {', '.join(sorted(unknown))}. It has: {', '.join(catalogue.entries)}.",
        )
    entries = [entry for name, entry in catalogue.entries.items() if not names or name in names]
    with _alone(cache_dir):
        return [_cached_or_built(entry, catalogue.offered_for, cache_dir, progress) for entry in entries]


def _cached_or_built(entry: Entry, offered_for: str, cache_dir: Path, progress: Progress) -> BuiltFile:
    metadata = entry.metadata(offered_for)
    return _cached(entry, metadata, cache_dir) or _build(entry, metadata, cache_dir, progress)


@contextmanager
def _alone(cache_dir: Path) -> Iterator[None]:
    """Two processes that start at once would download everything twice: the second one waits and finds it."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _cached(entry: Entry, metadata: Mapping[str, str], cache_dir: Path) -> BuiltFile | None:
    path = sources.cached(cache_dir, entry.sha256, ".onnx")
    # A catalogue that was edited without its pin must not be answered with the file of before.
    if path is None or read_metadata(path) != metadata:
        return None
    return BuiltFile(path, entry, entry.sha256, matches_pin=True, built=False)


def _converters() -> Callable[[Entry, Path, Mapping[str, str], Path], bytes]:
    """Imported late: an installation that only serves has no onnx, and a full cache needs none."""
    try:
        from .steps import run
    except ModuleNotFoundError as error:
        raise ConversionError(
            "converter_missing",
            f'Converting needs the package {error.name}. Run: pip install "ml_models[demo]"',
        ) from error
    return run


def _build(entry: Entry, metadata: Mapping[str, str], cache_dir: Path, progress: Progress) -> BuiltFile:
    run = _converters()
    original = sources.fetch(entry.source, entry.member, cache_dir, progress)
    progress(f"converting {entry.name}: {', '.join(entry.steps) or 'the contract only'}")
    with tempfile.TemporaryDirectory(prefix="model-build-") as scratch:
        data = run(entry, original, metadata, Path(scratch))
    path = sources.store(cache_dir, data, ".onnx")
    return BuiltFile(path, entry, path.stem, matches_pin=path.stem == entry.sha256, built=True)
