"""The network that tells one pair of glasses from another, trained anew on the development sets' frontal pictures:
config/networks/eyewear.onnx.

    make eyes

Pairs of glasses are drawn, of the shapes that versions are fitted under and of any other, each before four faces. The
network learns to give the same pair similar embeddings, whoever wears it, and two pairs different ones: each pair
before one face has to find itself before another face, among all pairs of its batch and bare faces (InfoNCE; van den
Oord et al., 2018). How well it tells pairs before faces that it was not trained on is printed. Some 30 minutes.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from devstack.dev_eval import FRONTAL, in_threads, load, pictures
from devstack.eyes import FOLDER, for_references, half_of, relit, write
from devstack.prepare import FIRST_ACTIVE
from devstack.state import say
from ml_models.engine.align import CROP_SIDE, TEMPLATE
from ml_models.engine.errors import ImageError
from ml_models.engine.pipeline import chip_crop
from ml_models.engine.types import Image
from ml_models.evaluation.pictures.glasses import CLEAR, DARK
from ml_models.evaluation.pictures.parts import EYE_LINE, EYES, MIDDLE, Lenses, plain, superellipses
from ml_models.evaluation.pictures.scene import Layer, Paint, Scene

SEED, STEPS, BATCH, BARE, DIMENSION = 20261127, 2000, 96, 64, 24
DESIGNS, WEARERS = 10_000, 4
# The rows of the crop that glasses reach, brows to cheeks.
TOP, BOTTOM = 24, 80

Strips = NDArray[np.uint8]
"""Luminance of these rows, (N, BOTTOM - TOP, CROP_SIDE)."""


def main() -> int:
    torch.manual_seed(SEED)
    faces = [*collected(load(FIRST_ACTIVE))]
    strips, half = map(np.array, zip(*faces, strict=True))
    say(f"eyewear: {len(strips)} faces")
    for part in (0, 1):
        network = fit(strips[half == part])
        print(f"trained on half {part + 1}: " + told(network, strips[half != part]))
    write(FOLDER / "eyewear.onnx", fit(strips), torch.zeros(1, 3, CROP_SIDE, CROP_SIDE), "crops", "eyewear")
    return 0


def collected(config: Any) -> Iterator[tuple[Image, int]]:
    """Every frontal picture that might become a reference, as a strip, and which half of the people it shows."""
    pipeline, limits = for_references(config)

    def face(path: Path) -> list[tuple[Image, int]]:
        with suppress(ImageError):
            return [(strip(chip_crop(pipeline.extract(path.read_bytes(), limits).chip)), half_of(path))]
        return []

    found = in_threads(face, [path for which in FRONTAL for path in pictures(*which)])
    return chain.from_iterable(found)


def strip(crop: Image) -> Image:
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[TOP:BOTTOM], np.uint8)


def drawn(strips: Strips, seed: int) -> NDArray[np.uint8]:
    """DESIGNS pairs of glasses, each before WEARERS faces: (DESIGNS, WEARERS, H, W)."""
    rng = np.random.default_rng(seed)
    wearers = [rng.choice(len(strips), WEARERS, replace=False) for _ in range(DESIGNS)]

    def design(number: int) -> Strips:
        shapes = [any_glasses] if number % 5 < 3 else [*CLEAR, *DARK]
        shape = shapes[number // 5 % len(shapes)]
        worn = []
        for wearer in wearers[number]:
            crop = np.pad(strips[wearer], ((TOP, CROP_SIDE - BOTTOM), (0, 0)), "edge")
            scene = Scene.of(cv2.cvtColor(crop, cv2.COLOR_GRAY2RGB), TEMPLATE)
            worn.append(strip(shape(scene, np.random.default_rng([seed, number]))))
        return np.stack(worn)

    return np.stack([*in_threads(design, range(DESIGNS))])


def any_glasses(scene: Scene, rng: np.random.Generator) -> Image:
    """Lenses of any outline, clear, tinted or dark, evenly or more so towards the top or the bottom, with or without a
    rim, a brow, a glare, slats, and one bridge, two or none."""
    layer = Layer(scene)
    lenses, height = any_lenses(rng)
    # the middle of each kind: clear, tinted, dark, bare
    low, high = ((0, 0.3), (0.3, 0.65), (0.65, 1), (0, 0.1))[rng.choice(4, p=(0.5, 0.2, 0.2, 0.1))]
    opacity: Any = float(rng.uniform(low, high))
    if rng.random() < 0.35:
        _, y = layer.xy
        along = (y - EYE_LINE - rng.uniform(-8, 8)) / rng.uniform(1.5, 14) * rng.choice((-1, 1))
        opacity = np.asarray(opacity * (1 - rng.uniform(0.3, 1) * (0.5 + 0.5 * np.tanh(along))), np.float32)
    colour, frame = np.asarray(rng.uniform(5, rng.choice((60, 255)), 3), np.float32), plain(rng)
    for lens in lenses:
        layer.fill(lens, colour, opacity)
    if rng.random() < 0.15:
        width, reach, glare = rng.uniform(2, 7), rng.uniform(0.3, 0.7) * height, float(rng.uniform(0.1, 0.6))
        for x, y in (lens.mean(0) for lens in lenses):
            window = [(x + 2, y - reach), (x + 2 + width, y - reach), (x + width, y + reach), (x, y + reach)]
            layer.fill(window, np.full(3, 235, np.float32), glare)
    if rng.random() < 0.06:
        apart, width = rng.uniform(3, 6), rng.uniform(0.8, 2.5)
        for lens in lenses:
            (left, top), (right, bottom) = lens.min(0), lens.max(0)
            for y in np.arange(top + 2, bottom - 1, apart):
                layer.line([(left + 1, y), (right - 1, y)], width, frame)
    any_frame(layer, lenses, frame, rng)
    return layer.laid_over()


def any_lenses(rng: np.random.Generator) -> tuple[Lenses, float]:
    """Both outlines, mirrored about the nose, and half their height."""
    half, drop = rng.uniform((9, 6.5), (21, 19)), rng.uniform(-2, 6)
    if rng.random() < 0.45:
        return superellipses((half[0], half[1]), roundness=rng.uniform(1.6, 9), drop=drop), half[1]
    count = int(rng.integers(5, 10))
    corners = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.18, count) + rng.uniform(0, np.pi)
    reach = np.exp(rng.normal(0, 0.12, count))
    if rng.random() < 0.5:
        fine = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        corners, reach = fine, np.interp(fine, np.sort(corners % (2 * np.pi)), reach, period=2 * np.pi)
    outline = np.column_stack([np.cos(corners) * reach, np.sin(corners) * reach]) * half + np.array((0, drop))
    apart = np.array((rng.normal(0, 1.2), 0))
    return [EYES[0] + outline * (-1, 1) - apart, EYES[1] + outline + apart], half[1]


def any_frame(layer: Layer, lenses: Lenses, colour: Paint, rng: np.random.Generator) -> None:
    """A whole rim, its upper or lower half, or one with a brow; the bridges, and mostly temples."""
    rim = float(rng.choice((0, rng.uniform(0.7, 2), rng.uniform(2, 5.5)), p=(0.2, 0.45, 0.35)))
    kind = rng.choice(("whole", "upper", "lower", "brow"), p=(0.7, 0.15, 0.08, 0.07))
    for lens in lenses if rim else []:
        upper = lens[:, 1] < lens[:, 1].mean()
        if kind in ("whole", "brow"):
            layer.line(lens, rim if kind == "whole" else rim / 2, colour, closed=True)
        if kind != "whole":
            part = lens[~upper if kind == "lower" else upper]
            layer.line(part[np.argsort(part[:, 0])], 1.5 * rim if kind == "brow" else rim, colour)
    width, y = max(0.9, rim * rng.uniform(0.6, 1.2)), EYE_LINE + rng.uniform(-7, 2)
    left, right = lenses
    for bridge in range(rng.choice(3, p=(0.05, 0.8, 0.15))):
        at = y - bridge * rng.uniform(4, 8)
        layer.line([(left[:, 0].max(), at), (MIDDLE, at - rng.uniform(0, 3)), (right[:, 0].min(), at)], width, colour)
    if rng.random() < 0.85:
        layer.line([(left[:, 0].min(), y), (MIDDLE - 50, y - 2)], width, colour)
        layer.line([(right[:, 0].max(), y), (MIDDLE + 50, y - 2)], width, colour)


class Network(nn.Module):  # type: ignore[misc]
    """Four convolutions and one layer; some 35,000 numbers. RGB crops in, 0 to 255, embeddings out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 12, 5, stride=2, padding=2)
        self.convolutions = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in pairwise((12, 24, 32, 32)))
        self.last, self.dropout = nn.Linear(32 * 3 * 7, DIMENSION), nn.Dropout(0.1)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        red, green, blue = crops[:, :, TOP:BOTTOM].split(1, 1)
        # of unit length here, since how long it was says nothing of the picture
        return nn.functional.normalize(self.embedded(0.299 * red + 0.587 * green + 0.114 * blue))

    def embedded(self, strips: torch.Tensor) -> torch.Tensor:
        # whatever the light and the skin; what is nearly even stays so
        centred = strips - strips.mean((2, 3), keepdim=True)
        x = self.first(centred / ((centred**2).mean((2, 3), keepdim=True).sqrt() + 6)).relu()
        for convolution in self.convolutions:
            x = nn.functional.max_pool2d(convolution(x).relu(), 2)
        return self.last(self.dropout(x.flatten(1)))


def fit(strips: Strips) -> Network:
    """Train on these people."""
    worn, network, rng = drawn(strips, SEED), Network(), np.random.default_rng(SEED)
    scale = nn.Parameter(torch.tensor(10.0))
    optimiser = torch.optim.AdamW([*network.parameters(), scale], weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=STEPS)
    own = torch.arange(BATCH)
    for step in range(1, STEPS + 1):
        designs = rng.choice(DESIGNS, BATCH, replace=False)
        first, second = np.stack([rng.permutation(WEARERS)[:2] for _ in designs]).T
        bare = strips[rng.integers(0, len(strips), BARE)]
        batch = torch.from_numpy(varied(np.concatenate([worn[designs, first], worn[designs, second], bare]), rng))
        embedded = nn.functional.normalize(network.embedded(batch[:, None]))
        one, other, none = embedded.split((BATCH, BATCH, BARE))
        losses = [
            nn.functional.cross_entropy(scale * side @ torch.cat([across, none]).T, own)
            for side, across in ((one, other), (other, one))
        ]
        loss = sum(losses) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            say(f"  step {step} of {STEPS}, loss {loss.item():.3f}")
    network.eval()
    return network


def varied(strips: Strips, rng: np.random.Generator) -> NDArray[np.float32]:
    """As other cameras, other light and other landmarks show them: gamma, exposure, noise, blur, and a little turned,
    scaled and moved."""
    changed = relit(strips, rng, light=0.2, noise=2.0)
    count, height, width = strips.shape
    for i in range(count):
        if rng.random() < 0.3:
            changed[i] = cv2.GaussianBlur(changed[i], (0, 0), rng.uniform(0.4, 1.3))
        matrix = cv2.getRotationMatrix2D((MIDDLE, EYE_LINE - TOP), rng.normal(0, 2.5), np.exp(rng.normal(0, 0.04)))
        matrix[:, 2] += rng.normal(0, 1.2, 2)
        changed[i] = cv2.warpAffine(changed[i], matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(changed.clip(0, 255), np.float32)


def told(network: Network, strips: Strips) -> str:
    """How often the similarity of the same pair before two of these faces, and of two pairs, is over 0.5 and 0.7."""
    worn = drawn(strips, SEED + 1)[:2000, :2]
    with torch.no_grad():
        one, other = (
            nn.functional.normalize(network.embedded(torch.from_numpy(worn[:, side, None]).float())).numpy()
            for side in (0, 1)
        )
    similarity = one @ other.T
    same, different = similarity.diagonal(), similarity[~np.eye(len(worn), dtype=bool)]
    shares = [(limit, *(100 * (values > limit).mean() for values in (same, different))) for limit in (0.5, 0.7)]
    return "; ".join(f"over {limit} the same pair in {one:.1f} %, two in {two:.1f} %" for limit, one, two in shares)


if __name__ == "__main__":
    sys.exit(main())
