"""AdaFace's IR networks in torch, named as the published weights name them, and folded for export.

Layout: Kim, Jain, Liu, "AdaFace: Quality Adaptive Margin for Face Recognition", CVPR 2022; the units are
the "improved residual" of Deng et al., "ArcFace", CVPR 2019.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Architecture = Literal["ir18", "ir50", "ir101"]

WIDTHS = (64, 128, 256, 512)
UNITS: Mapping[Architecture, tuple[int, int, int, int]] = {
    "ir18": (2, 2, 2, 2),
    "ir50": (3, 4, 14, 3),
    "ir101": (3, 13, 30, 3),
}
SIDE = 112
DIMENSION = 512
_FINAL_SIDE = 7


class Unit(nn.Module):  # type: ignore[misc]  # torch's classes are untyped where it is not installed
    """Batch norm, two 3×3 convolutions and a shortcut, added."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = (
            nn.MaxPool2d(1, stride)
            if width_in == width_out
            else nn.Sequential(nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.Conv2d(width_in, width_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width_out),
            nn.PReLU(width_out),
            nn.Conv2d(width_out, width_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.res_layer(x)
        shortcut: Tensor = self.shortcut_layer(x)
        return residual + shortcut


class AdaFaceNetwork(nn.Module):  # type: ignore[misc]
    """IR-18, IR-50 or IR-101; its state dict has exactly the published names and shapes.

    Input: float32 (N, 3, 112, 112), (x − 127.5) / 127.5, in the colour order of the weights.
    Output: the raw feature, float32 (N, 512), not unit length; its length is AdaFace's quality signal.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.PReLU(WIDTHS[0])
        )
        units: list[Unit] = []
        before = WIDTHS[0]
        for width, count in zip(WIDTHS, UNITS[architecture], strict=True):
            units.append(Unit(before, width, stride=2))
            units.extend(Unit(width, width, stride=1) for _ in range(count - 1))
            before = width
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(WIDTHS[-1]),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(WIDTHS[-1] * _FINAL_SIDE * _FINAL_SIDE, DIMENSION),
            nn.BatchNorm1d(DIMENSION, affine=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        feature: Tensor = self.output_layer(self.body(self.input_layer(x)))
        return feature


class MaxPReLU(nn.Module):  # type: ignore[misc]
    """PReLU as max(x, slope · x), the same for every slope up to 1: onnxruntime computes it four times as fast."""

    def __init__(self, slopes: Tensor) -> None:
        super().__init__()
        self.register_buffer("slopes", slopes.detach().clone().reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, x * self.slopes)


class FeatureWithNorm(nn.Module):  # type: ignore[misc]
    """The feature, float32 (N, 512), and its Euclidean length, float32 (N, 1)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        feature: Tensor = self.network(x)
        return feature, torch.linalg.vector_norm(feature, dim=1, keepdim=True)


def layout(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor the published weights of `architecture` have."""
    with torch.device("meta"):
        network = AdaFaceNetwork(architecture)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def count_flops(network: nn.Module) -> int:
    """Floating-point operations of all convolutions and linear layers for one face; a multiply-add is two."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        positions = output[0].numel() // module.weight.shape[0]
        total += 2 * positions * module.weight.numel()

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network(torch.zeros(1, 3, SIDE, SIDE))
    for handle in handles:
        handle.remove()
    return total


def fold(network: AdaFaceNetwork) -> AdaFaceNetwork:
    """A copy in eval mode that computes the same with fewer layers.

    Batch norms behind a convolution go into it, those around the last linear layer into that one; dropout and
    pooling of one pixel at stride 1 go. The batch norm in front of a padded 3×3 convolution stays: the
    padding is zero *behind* the norm, so at the border its shift is missing, and no kernel can say so.
    """
    folded = copy.deepcopy(network)
    folded.eval()
    folded.input_layer = nn.Sequential(*_fuse(folded.input_layer, 0), _activation(folded.input_layer[2]))
    for unit in folded.body:
        if isinstance(unit.shortcut_layer, nn.Sequential):
            unit.shortcut_layer = nn.Sequential(*_fuse(unit.shortcut_layer, 0))
        elif unit.shortcut_layer.stride == 1:
            unit.shortcut_layer = nn.Identity()
        res = unit.res_layer
        unit.res_layer = nn.Sequential(res[0], *_fuse(res, 1), _activation(res[3]), *_fuse(res, 4))
    folded.output_layer = nn.Sequential(nn.Flatten(), _fold_head(folded.output_layer))
    return folded


def _activation(prelu: nn.PReLU) -> nn.Module:
    return MaxPReLU(prelu.weight) if bool((prelu.weight <= 1).all()) else prelu


def _fuse(layers: nn.Sequential, index: int) -> tuple[nn.Module]:
    convolution, norm = layers[index], layers[index + 1]
    return (fuse_conv_bn_eval(convolution, norm),)


def _fold_head(head: nn.Sequential) -> nn.Linear:
    before, linear, after = head[0], head[3], head[4]
    # in double precision: 25,088 products a row are summed into the bias
    scale_in, shift_in = _affine(before)
    scale_out, shift_out = _affine(after)
    weight = linear.weight.double()
    pixels = _FINAL_SIDE * _FINAL_SIDE
    bias = linear.bias.double() + weight @ shift_in.repeat_interleave(pixels)
    folded = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        folded.weight.copy_(scale_out[:, None] * weight * scale_in.repeat_interleave(pixels))
        folded.bias.copy_(scale_out * bias + shift_out)
    folded.eval()
    return folded


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift, float64 (C,), that the batch norm applies in eval mode."""
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        shift = shift + norm.bias.double()
    return scale.detach(), shift.detach()
