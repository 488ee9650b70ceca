"""NOTICE names whose every known network is, and on which terms."""

from pathlib import Path

from ml_models.conversion.adaface.datasets import CITATION, DATASETS
from ml_models.conversion.pack.catalogue import Catalogue

NOTICE = (Path(__file__).resolve().parents[2] / "NOTICE").read_text()
UNWRAPPED = " ".join(NOTICE.split())


def test_adaface_is_cited_completely_with_its_terms() -> None:
    assert CITATION in NOTICE
    assert "WebFace4M, 12M or 42M are not for commercial use" in UNWRAPPED
    assert "MS1MV2 is derived from MS-Celeb-1M, which its publisher withdrew" in UNWRAPPED
    assert "MS-Celeb-1M" in DATASETS["ms1mv2"].terms


def test_every_network_of_the_catalogue_is_named_cited_and_licensed(catalogue: Catalogue) -> None:
    for entry in catalogue.entries.values():
        assert entry.name in UNWRAPPED
        for text in (entry.citation, f"Weights: {entry.weights_licence}.", f"Training data: {entry.training_data}"):
            assert " ".join(text.split()) in UNWRAPPED, entry.name
        assert entry.commercial_use == "unknown"
