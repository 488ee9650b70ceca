"""Each image is embedded once; what cannot be acquired is counted, and vectors on disk stay private."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from ml_models.engine.errors import InferenceFailed, MultipleFaces, NoFaceFound
from ml_models.engine.types import Chip, Extraction, Quality
from ml_models.evaluation.pictures.embedding import UNUSED, Embedded, VectorCache, embed, spread
from ml_models.evaluation.scoring import dot_products


class Engine:
    """Stands where the pipeline does: a vector from the bytes, or a refusal."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def __call__(self, data: bytes) -> Extraction:
        self.calls.append(data)
        if data == b"no face":
            raise NoFaceFound("No face was found.")
        if data == b"broken network":
            raise InferenceFailed("The network failed.")
        vector = np.random.default_rng(list(data)).normal(size=8).astype(np.float32)
        quality = Quality(0.5, (), 80.0, 100.0, 120.0, 40.0, 3.0, 2.0, 1.0, 0.9, 1.5)
        chip = Chip(np.zeros((1, 1, 3), np.uint8), np.zeros((5, 2), np.float32))
        return Extraction(chip, quality, {"net": vector / np.linalg.norm(vector)}, {"net": 7.5})


def files(folder: Path, *contents: bytes) -> list[Path]:
    paths = [folder / f"{i}.jpg" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def same(one: Embedded, other: Embedded) -> bool:
    return one.codes == other.codes and all(
        np.array_equal(getattr(one, part)[name], getattr(other, part)[name], equal_nan=True)
        for part in ("vectors", "norms", "quality")
        for name in getattr(one, part)
    )


def test_images_keep_their_order_and_failures_their_code(tmp_path: Path) -> None:
    engine, progress = Engine(), []
    paths = files(tmp_path, b"ann", b"no face", b"bob")
    embedded = embed(paths, engine, ["net"], threads=2, progress=lambda *done: progress.append(done))
    assert embedded.codes == ("", "no_face_found", "")
    assert embedded.acquired.tolist() == [True, False, True]
    assert embedded.failures([0, 1, 2]) == {"no_face_found": 1}
    assert np.isnan(embedded.vectors["net"][1]).all()
    assert np.array_equal(embedded.vectors["net"][2], Engine()(b"bob").vectors["net"])
    assert embedded.quality["face_px"][0] == 80
    assert progress[-1] == (3, 3)
    assert sorted(engine.calls) == [b"ann", b"bob", b"no face"]


def test_a_picture_with_bystanders_is_taken_only_where_that_was_asked_for(tmp_path: Path) -> None:
    def strict(data: bytes) -> Extraction:
        if data == b"crowd":
            raise MultipleFaces("2 faces were found.")
        return Engine()(data)

    paths = files(tmp_path, b"ann", b"crowd")
    assert embed(paths, strict, ["net"]).codes == ("", "multiple_faces")
    cache = VectorCache(tmp_path / "cache", "digest")
    for _ in range(2):
        embedded = embed(paths, strict, ["net"], crowd=Engine(), cache=cache)
        assert embedded.codes == ("", "")
        assert embedded.crowded.tolist() == [False, True]


def test_a_network_that_fails_is_no_failure_to_acquire(tmp_path: Path) -> None:
    with pytest.raises(InferenceFailed):
        embed(files(tmp_path, b"ann", b"broken network"), Engine(), ["net"])


def test_several_threads_give_what_one_gives(tmp_path: Path) -> None:
    paths = files(tmp_path, *(bytes([i]) for i in range(40)))
    assert same(embed(paths, Engine(), ["net"], threads=8), embed(paths, Engine(), ["net"], threads=1))


def test_the_engine_is_called_from_several_threads(tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=20)
    engine = Engine()

    def extract(data: bytes) -> Extraction:
        meeting.wait()
        return engine(data)

    embed(files(tmp_path, b"ann", b"bob"), extract, ["net"], threads=2)


def test_a_second_run_reads_the_cache_and_embeds_nothing(tmp_path: Path) -> None:
    paths = files(tmp_path, b"ann", b"no face", b"bob")
    first = embed(paths, Engine(), ["net"], cache=VectorCache(tmp_path / "cache", "digest"))
    engine = Engine()
    again = embed(paths, engine, ["net"], cache=VectorCache(tmp_path / "cache", "digest"))
    assert same(first, again)
    assert engine.calls == []
    embed(paths, engine, ["net"], cache=VectorCache(tmp_path / "cache", "another pipeline"))
    assert len(engine.calls) == 3


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "cache", "digest")
    with pytest.raises(InferenceFailed):
        embed(files(tmp_path, b"ann", b"broken network"), Engine(), ["net"], threads=1, cache=cache)
    engine = Engine()
    embed(files(tmp_path, b"ann", b"bob"), engine, ["net"], threads=1, cache=cache)
    assert engine.calls == [b"bob"]


def test_vectors_on_disk_can_be_read_by_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    embed(files(tmp_path, b"ann"), Engine(), ["net"], cache=VectorCache(folder, "digest"))
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nothing_is_kept_on_disk_unless_asked_for(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    paths = files(images, b"ann")
    embed(paths, Engine(), ["net"])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == paths


def test_cosines_are_the_dot_products_of_the_rows_named() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(2500, 4)).astype(np.float32)
    vectors[3] = np.nan
    a, b = rng.integers(0, 2500, (2, 500)).astype(np.int32)
    a[0] = 3
    expected = (vectors[a] * vectors[b]).sum(1)
    assert np.allclose(dot_products(vectors, a, b), expected, atol=1e-5, equal_nan=True)


def test_rows_of_some_images_take_their_places_among_all(tmp_path: Path) -> None:
    embedded = embed(files(tmp_path, b"ann", b"no face"), Engine(), ["net"])
    whole = spread(embedded, np.array([3, 1]), 5)
    assert whole.codes == (UNUSED, "no_face_found", UNUSED, "", UNUSED)
    assert whole.acquired.tolist() == [False, False, False, True, False]
    assert np.array_equal(whole.vectors["net"][3], embedded.vectors["net"][0])
    assert np.isnan(whole.vectors["net"][0]).all()
    assert whole.failures(range(5)) == {"no_face_found": 1}  # what nobody asked for did not fail
