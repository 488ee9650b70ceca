"""Random weights of the true layout, for tests and benchmarks: they know no face."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .network import SIDE, AdaFaceNetwork, Architecture

_IMAGES = 12


def seeded_network(architecture: Architecture, seed: int = 0) -> AdaFaceNetwork:
    """A network whose batch norms were measured on smooth images, so that no activation explodes or dies.

    Features of different images point in different directions, as a trained network's do.
    """
    generator = torch.Generator().manual_seed(seed)
    network = AdaFaceNetwork(architecture)
    with torch.no_grad():
        for module in network.modules():
            _fill(module, generator)
        for unit in network.body:
            # residuals are small beside what they are added to, as in a trained network
            unit.res_layer[5].weight.mul_(0.5)
            unit.res_layer[5].bias.mul_(0.5)
        network.train()
        network.output_layer[1].eval()  # no dropout while measuring
        images = functional.interpolate(
            torch.rand(_IMAGES, 3, 14, 14, generator=generator) * 2 - 1, size=(SIDE, SIDE), mode="bicubic"
        )
        network(images.clamp(-1, 1))
    network.eval()
    return network


def _fill(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        fan_in = module.weight[0].numel()
        module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        if module.bias is not None:
            module.bias.normal_(0, 0.1, generator=generator)
    elif isinstance(module, nn.PReLU):
        module.weight.uniform_(0.05, 0.4, generator=generator)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.momentum = None  # the plain average over all images
        if module.affine:
            module.weight.uniform_(0.4, 1.0, generator=generator)
            module.bias.normal_(0, 0.1, generator=generator)
