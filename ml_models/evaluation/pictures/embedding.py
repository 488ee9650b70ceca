"""Images → vectors, each image once, through the pipeline that `verify` uses."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import ImageError, MultipleFaces
from ...engine.types import Extraction, Quality
from ..lists.pairs import Comparisons
from ..scoring import Observations, dot_products

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

QUALITY_FIELDS = tuple(f.name for f in fields(Quality) if f.name not in ("reasons", "details"))
UNUSED = "unused"
"""The code of an image that is in no comparison, and was therefore not embedded."""


class Extracts(Protocol):
    """Embeds one picture: `engine.pipeline.Pipeline.extract`, with the version's limits bound."""

    def __call__(self, data: bytes) -> Extraction: ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """The images of a list, embedded; every array has one row an image, in the list's order.

    `vectors[member]` float32 (I, D), unit length, NaN where nothing was acquired; `norms[member]` float64
    (I,); `quality[field]` float64 (I,), the engine's `Quality`, NaN where nothing was acquired; `codes` the
    engine's error code, "" where the face was acquired; `crowded` true where the largest of several faces was
    taken; `digests` sha256 hex of each file's bytes; `engine_s` the processor time spent in the engine, in
    seconds; `reused` how many came from the cache.
    """

    vectors: dict[str, NDArray[np.float32]]
    norms: dict[str, NDArray[np.float64]]
    quality: dict[str, NDArray[np.float64]]
    codes: tuple[str, ...]
    crowded: NDArray[np.bool_]
    engine_s: float
    digests: tuple[str, ...] = ()
    reused: int = 0

    @property
    def acquired(self) -> NDArray[np.bool_]:
        return np.array([not code for code in self.codes])

    def failures(self, images: Iterable[int]) -> dict[str, int]:
        """How many of these images failed, by code."""
        return dict(sorted(Counter(self.codes[i] for i in images if self.codes[i] not in ("", UNUSED)).items()))

    def observations(self, comparisons: Comparisons, probes: Embedded | None = None) -> Observations:
        """Each member's observation of every comparison. `probes` are the same images, in the same order, as second
        images when these differ."""
        a, b, others = comparisons.a, comparisons.b, probes or self
        return Observations(
            {name: dot_products(v, a, b, others.vectors[name]) for name, v in self.vectors.items()},
            {name: np.log(np.minimum(norms[a], others.norms[name][b])) for name, norms in self.norms.items()},
        )


def embed(
    images: Sequence[Path],
    extract: Extracts,
    members: Sequence[str],
    *,
    crowd: Extracts | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    cache: VectorCache | None = None,
) -> Embedded:
    """Embed every image once.

    Args:
        images: files; an image that the engine refuses is a failure to acquire, with the engine's code.
        extract: see `Extracts`; called from several threads at once.
        members: names of the vectors to keep.
        crowd: called where `extract` refuses an image for several faces. Benchmarks of press photographs label one
            person among bystanders. When None, such an image is a failure to acquire.
        threads: one a core when None; the engine releases the GIL.
        cache: vectors already made are read from it, new ones written to it.

    Raises:
        InferenceFailed: a network failed, which is not the image's fault.
        OSError: a file cannot be read.
    """

    def one(path: Path) -> tuple[_Row, float, str]:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if cache and (cached := cache.get(data)):
            return cached, 0.0, digest
        started = time.thread_time()
        row = _extracted(data, extract, crowd)
        spent = time.thread_time() - started
        if cache:
            cache.put(data, row)
        return row, spent, digest

    rows: list[_Row] = []
    digests: list[str] = []
    spent_s, reused = 0.0, 0
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        try:
            for row, spent, digest in pool.map(one, images):
                rows.append(row)
                digests.append(digest)
                spent_s += spent
                reused += not spent
                if progress:
                    progress(len(rows), len(images))
        finally:
            pool.shutdown(cancel_futures=True)
    return replace(_stack(rows, members), engine_s=spent_s, digests=tuple(digests), reused=reused)


def _extracted(data: bytes, extract: Extracts, crowd: Extracts | None) -> _Row:
    try:
        try:
            return _Row.of(extract(data))
        except MultipleFaces:
            if crowd is None:
                raise
            return replace(_Row.of(crowd(data)), crowded=True)
    except ImageError as error:
        return _Row(error.code)


@dataclass(frozen=True, slots=True)
class _Row:
    code: str
    vectors: dict[str, NDArray[np.float32]] | None = None
    norms: dict[str, float] | None = None
    quality: tuple[float, ...] = ()
    crowded: bool = False

    @classmethod
    def of(cls, extraction: Extraction) -> _Row:
        measured = (getattr(extraction.quality, field) for field in QUALITY_FIELDS)
        quality = tuple(np.nan if value is None else float(value) for value in measured)
        return cls("", dict(extraction.vectors), dict(extraction.norms), quality)


def spread(embedded: Embedded, at: NDArray[np.integer], count: int) -> Embedded:
    """Put the rows of some images into a table of all: row i goes to row `at[i]` of `count`. The code of the other
    images is UNUSED."""

    def placed(values: NDArray[Any]) -> NDArray[Any]:
        whole = np.full((count, *values.shape[1:]), np.nan, values.dtype)
        whole[at] = values
        return whole

    codes, digests = [UNUSED] * count, [""] * count
    crowded = np.zeros(count, bool)
    crowded[at] = embedded.crowded
    for where, code, digest in zip(at, embedded.codes, embedded.digests, strict=True):
        codes[where], digests[where] = code, digest
    return replace(
        embedded,
        vectors={name: placed(values) for name, values in embedded.vectors.items()},
        norms={name: placed(values) for name, values in embedded.norms.items()},
        quality={name: placed(values) for name, values in embedded.quality.items()},
        codes=tuple(codes),
        crowded=crowded,
        digests=tuple(digests),
    )


def _stack(rows: Sequence[_Row], members: Sequence[str]) -> Embedded:
    vectors: dict[str, NDArray[np.float32]] = {}
    norms: dict[str, NDArray[np.float64]] = {}
    for name in members:
        dimension = next((len(row.vectors[name]) for row in rows if row.vectors), 1)
        nothing = np.full(dimension, np.nan, np.float32)
        vectors[name] = np.stack([row.vectors[name] if row.vectors else nothing for row in rows])
        norms[name] = np.array([row.norms[name] if row.norms else np.nan for row in rows])
    missing = (np.nan,) * len(QUALITY_FIELDS)
    table = np.array([row.quality or missing for row in rows]).reshape(len(rows), len(QUALITY_FIELDS))
    quality = {field: table[:, i] for i, field in enumerate(QUALITY_FIELDS)}
    crowded = np.array([row.crowded for row in rows])
    return Embedded(vectors, norms, quality, tuple(row.code for row in rows), crowded, 0.0)


class VectorCache:
    """Vectors on disk, so that a long run can be resumed. They are biometric: only in a folder the operator
    names, readable by nobody else, one file an image, named by a hash of its bytes and the pipeline.

    Args:
        folder: made when absent, mode 0700.
        pipeline_digest: part of each file's name, so that another pipeline finds none of this one's vectors.
    """

    def __init__(self, folder: Path, pipeline_digest: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._salt = pipeline_digest.encode()

    def _path(self, data: bytes) -> Path:
        return self._folder / f"{hashlib.sha256(self._salt + data).hexdigest()}.npz"

    def get(self, data: bytes) -> _Row | None:
        path = self._path(data)
        if not path.exists():
            return None
        with np.load(path) as stored:
            if code := str(stored["code"]):
                return _Row(code)
            names = [str(name) for name in stored["members"]]
            vectors = {name: stored[f"vector-{i}"] for i, name in enumerate(names)}
            norms = {name: float(stored["norms"][i]) for i, name in enumerate(names)}
            return _Row("", vectors, norms, tuple(map(float, stored["quality"])), bool(stored["crowded"]))

    def put(self, data: bytes, row: _Row) -> None:
        vectors, norms = row.vectors or {}, row.norms or {}
        buffer = io.BytesIO()
        np.savez(
            buffer,
            code=np.array(row.code),
            members=np.array(list(vectors), dtype=str),
            norms=np.array([norms[name] for name in vectors]),
            quality=np.array(row.quality),
            crowded=np.array(row.crowded),
            allow_pickle=False,
            **{f"vector-{i}": vector for i, vector in enumerate(vectors.values())},
        )
        # mkstemp makes it 0600; an interrupted run leaves no half file under the final name
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".part-")
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getvalue())
        Path(temporary).replace(self._path(data))
