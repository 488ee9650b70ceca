"""The networks are the published ones, and folding changes nothing."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="conversion tests run in the conversion environment: make convert-env")

from ml_models.conversion.adaface.network import (  # noqa: E402
    UNITS,
    AdaFaceNetwork,
    Architecture,
    count_flops,
    count_parameters,
    fold,
    layout,
)
from ml_models.conversion.adaface.seeded import seeded_network  # noqa: E402


@pytest.mark.parametrize(("architecture", "millions"), [("ir18", 24.0), ("ir50", 43.6), ("ir101", 65.2)])
def test_each_architecture_has_the_published_number_of_parameters(architecture: Architecture, millions: float) -> None:
    with torch.device("meta"):
        network = AdaFaceNetwork(architecture)

    assert round(count_parameters(network) / 1e6, 1) == millions


@pytest.mark.parametrize(("architecture", "units"), [("ir18", 8), ("ir50", 24), ("ir101", 49)])
def test_the_layout_has_the_published_names_and_shapes(architecture: Architecture, units: int) -> None:
    shapes = layout(architecture)
    stages = [
        width for width, count in zip((64, 128, 256, 512), UNITS[architecture], strict=True) for _ in range(count)
    ]
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}

    expected: dict[str, tuple[int, ...]] = {"input_layer.0.weight": (64, 3, 3, 3), "input_layer.2.weight": (64,)}
    expected |= {f"input_layer.1.{name}": (64,) for name in norm}
    before = 64
    for index, width in enumerate(stages):
        unit = f"body.{index}"
        expected |= {f"{unit}.res_layer.0.{name}": (before,) for name in norm}
        expected[f"{unit}.res_layer.1.weight"] = (width, before, 3, 3)
        expected |= {f"{unit}.res_layer.2.{name}": (width,) for name in norm}
        expected[f"{unit}.res_layer.3.weight"] = (width,)
        expected[f"{unit}.res_layer.4.weight"] = (width, width, 3, 3)
        expected |= {f"{unit}.res_layer.5.{name}": (width,) for name in norm}
        if before != width:
            expected[f"{unit}.shortcut_layer.0.weight"] = (width, before, 1, 1)
            expected |= {f"{unit}.shortcut_layer.1.{name}": (width,) for name in norm}
        before = width
    expected |= {f"output_layer.0.{name}": (512,) for name in norm}
    expected |= {"output_layer.3.weight": (512, 25088), "output_layer.3.bias": (512,)}
    expected |= {f"output_layer.4.{name}": (512,) for name in norm - {"weight", "bias"}}
    expected |= {name: () for name in expected if name.endswith("num_batches_tracked")}

    assert len(stages) == units
    assert shapes == expected


def test_folding_leaves_the_feature_as_it_was_at_the_border_too() -> None:
    network = seeded_network("ir18", seed=3)
    images = torch.rand(4, 3, 112, 112) * 2 - 1
    images[:, :, :2] = 3  # a strong border: a batch norm folded through zero padding would be wrong exactly there

    with torch.inference_mode():
        before, after = network(images), fold(network)(images)

    assert torch.nn.functional.cosine_similarity(before, after).min() > 0.999999
    assert (before - after).abs().max() < 1e-3 * before.abs().max()


def test_a_slope_above_one_stays_a_prelu_and_the_feature_as_it_was() -> None:
    network = seeded_network("ir18", seed=4)
    with torch.no_grad():
        network.body[2].res_layer[3].weight[7] = 1.5
    folded = fold(network)
    images = torch.rand(2, 3, 112, 112) * 2 - 1

    with torch.inference_mode():
        assert torch.nn.functional.cosine_similarity(network(images), folded(images)).min() > 0.999999
    assert sum(isinstance(m, torch.nn.PReLU) for m in folded.modules()) == 1


def test_folding_leaves_one_batch_norm_a_unit() -> None:
    folded = fold(seeded_network("ir18"))

    norms = [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    assert len(norms) == sum(UNITS["ir18"])
    assert not any(isinstance(m, torch.nn.Dropout) for m in folded.modules())


def test_ir50_costs_what_its_paper_says() -> None:
    assert count_flops(AdaFaceNetwork("ir50").eval()) / 2e9 == pytest.approx(6.3, abs=0.05)  # billion multiply-adds


def test_seeded_networks_tell_two_images_apart() -> None:
    network = seeded_network("ir18")
    with torch.inference_mode():
        a, b = network(torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(5)).round() * 2 - 1)

    assert torch.isfinite(a).all()
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) < 0.99
