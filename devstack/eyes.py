"""The networks that look at the eyes, trained anew on the development sets' frontal pictures: config/networks.

    make eyes

Eyes are covered by the dark glasses and the cloth that versions are fitted under, and, in the squares about them, by
lenses of any outline and colour; they are to be seen bare, behind clear glasses, and in poor light. Glasses are dark
ones, clear ones and any lens that is to be seen; cloth and caps are no example of either. What both tell is
measured with networks that were trained on the other half of the people, and printed. Some 40 minutes. Another machine
gives networks that are as good, not the same numbers: the pins in config/artifacts.yaml have to follow.
"""

import hashlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from devstack.dev_eval import DATA, FRONTAL, in_threads, load, pictures, png
from devstack.prepare import FIRST_ACTIVE
from devstack.state import ROOT, say
from ml_models.engine.decode import decode
from ml_models.engine.detect import the_one_face
from ml_models.engine.errors import ImageError
from ml_models.engine.eyes import SIDE, eyes
from ml_models.engine.pipeline import Pipeline, chip_crop
from ml_models.engine.quality import ENROLL_LIMITS, QualityLimits
from ml_models.evaluation.pictures.coverings import EYES_BARRED
from ml_models.evaluation.pictures.glasses import CLEAR, DARK
from ml_models.evaluation.pictures.scene import Scene
from ml_models.evaluation.pictures.stress import CHANGES

FOLDER = ROOT / "config" / "networks"
SEED, EPOCHS, BATCH, LENSES = 20261127, 8, 256, 80
# Log-odds of a clean picture in a fit before, above which the person wears real glasses, or perhaps does: by what is
# looked for, dark ones for "covered". A first fit finds the heavy ones, a second one the rest.
MARKS = {"covered": [(2.5, 0.7)], "glasses": [(1.5, -0.5), (2.5, 0.0)]}
# a lens changes the square by so many grey levels on average, or it is not to be seen
VISIBLE = 4.0
# eyes to be seen, however dark the picture
LIGHT = ("low_light", "jpeg", "backlight")

Squares = NDArray[np.uint8]


def main() -> int:
    torch.manual_seed(SEED)
    pictures = [*collected(load(FIRST_ACTIVE))]
    for file, what in (("eyes", "covered"), ("glasses", "glasses")):
        train(Drawn.of(pictures, what), what, FOLDER / f"{file}.onnx")
    return 0


def train(drawn: "Drawn", what: str, file: Path) -> None:
    """Measure crosswise what a network tells, and write the one that is trained on everybody."""
    say(f"{file.stem}: {len(drawn.squares)} faces of {drawn.picture.max() + 1} pictures")
    for sure, perhaps in MARKS[what]:
        drawn = drawn.marked(crosswise(drawn), sure, perhaps)
    print("\n".join(table(drawn, crosswise(drawn))))
    write(file, fit(drawn, np.ones(len(drawn.half), bool)), torch.zeros(2, 1, SIDE, SIDE), "eyes", what)


@dataclass(frozen=True, slots=True)
class Face:
    """Which half of the people it is of, what was done to the picture, and the squares about the eyes, uint8
    (2, SIDE, SIDE)."""

    half: int
    change: str
    squares: Squares


def collected(config: Any) -> Iterator[list[Face]]:
    """Of every frontal picture that might become a reference: clean, and as one shape of each kind leaves it."""
    pipeline, limits = for_references(config)
    kinds = {
        "dark": DARK,
        "also dark": DARK,
        "clear": CLEAR,
        "barred": EYES_BARRED,
        "light": [CHANGES[name] for name in LIGHT],
    }

    def face(path: Path, change: str, data: bytes) -> Iterator[Face]:
        with suppress(ImageError):
            chip = pipeline.extract(data, limits).chip
            yield Face(half_of(path), change, eyes(chip_crop(chip)))

    def faces(path: Path) -> list[Face]:
        data = path.read_bytes()
        found = [*face(path, "clean", data)]
        if found:
            image = decode(data)
            scene = Scene.of(image, the_one_face(pipeline.detector.detect(image), image.shape, 0.0, np.inf).landmarks)
            for kind, shapes in kinds.items():
                rng = np.random.default_rng([*hashlib.sha256(kind.encode() + data).digest()[:16]])
                shape = shapes[int(rng.integers(len(shapes)))]
                found += face(path, shape.__name__, png(shape(scene, rng)))
        return found

    return in_threads(faces, [path for which in FRONTAL for path in pictures(*which)])


def for_references(config: Any) -> tuple[Pipeline, QualityLimits]:
    """What finds the face in a picture that might become a reference, and embeds nothing; and the limits for that."""
    from ml_models.studies import loading

    pipeline = replace(loading.pipeline(config), members={}, presentation=(), eyes=None, glasses=None)
    return pipeline, replace(ENROLL_LIMITS, bystander_ratio=np.inf, min_eye_contrast=0.0, min_score=0.0)


def half_of(picture: Path) -> int:
    """0 or 1: of one person in two sets, or of two with one first name, both in the same half."""
    person = picture.relative_to(DATA).parts[2].split("_")[0]
    return hashlib.sha256(person.encode()).digest()[0] % 2


@dataclass(frozen=True, slots=True)
class Drawn:
    """All faces: `squares` uint8 (N, 2, SIDE, SIDE); `picture`, its number, `half`, which half of the people, `change`,
    and `wanted`: 1 where there is what is looked for, `what`, 0 where not, NaN where nobody knows; (N,) each."""

    squares: Squares
    picture: NDArray[np.int64]
    half: NDArray[np.int64]
    change: NDArray[np.str_]
    wanted: NDArray[np.float64]
    what: str

    @classmethod
    def of(cls, pictures: Sequence[Sequence[Face]], what: str) -> "Drawn":
        faces = [face for found in pictures for face in found]
        change = np.array([face.change for face in faces])
        dark, clear, barred = ([shape.__name__ for shape in shapes] for shapes in (DARK, CLEAR, EYES_BARRED))
        if what == "covered":
            # between strands of hair an eye may be seen
            there, unknown = np.isin(change, [*dark, *barred]), change == "hair"
        else:
            there, unknown = np.isin(change, [*dark, *clear]), np.isin(change, barred)
        return cls(
            np.stack([face.squares for face in faces]),
            np.repeat(np.arange(len(pictures)), [len(found) for found in pictures]),
            np.array([face.half for face in faces]),
            change,
            np.where(unknown, np.nan, there.astype(float)),
            what,
        )

    def marked(self, log_odds: NDArray[np.float64], sure: float, perhaps: float) -> "Drawn":
        """Who wears real glasses is no example of somebody without, whatever is drawn over them: clean pictures with
        higher log-odds than `sure` are examples of glasses, those above `perhaps` of nothing."""
        of_picture = np.full(self.picture.max() + 1, np.inf)
        clean = self.change == "clean"
        of_picture[self.picture[clean]] = log_odds[clean]
        beneath = of_picture[self.picture]
        doubtful = np.where((self.wanted == 0) & (beneath > perhaps), np.nan, self.wanted)
        return replace(self, wanted=np.where(clean & (beneath > sure), 1.0, doubtful))


class Network(nn.Module):  # type: ignore[misc]
    """Three convolutions and two layers; some 29,000 numbers. Luminance in, log-odds of what is looked for out."""

    def __init__(self) -> None:
        super().__init__()
        depths = (1, 12, 24, 32)
        self.convolutions = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in pairwise(depths))
        self.hidden, self.last = nn.Linear(32 * 25, 24), nn.Linear(24, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        # whatever the light and the skin; what is nearly even stays so
        centred = squares - squares.mean((2, 3), keepdim=True)
        x = centred / ((centred**2).mean((2, 3), keepdim=True).sqrt() + 6)
        for convolution in self.convolutions:
            x = nn.functional.max_pool2d(convolution(x).relu(), 2)
        return self.last(self.hidden(self.dropout(x.flatten(1))).relu())


def crosswise(drawn: Drawn) -> NDArray[np.float64]:
    """Every face's log-odds of what is looked for, by a network trained on the other half of the people."""
    log_odds = np.zeros(len(drawn.half))
    for part in (0, 1):
        network, mine = fit(drawn, drawn.half != part), drawn.half == part
        with torch.no_grad():
            each = network(torch.from_numpy(drawn.squares[mine].reshape(-1, 1, SIDE, SIDE)).float())
        log_odds[mine] = each.numpy().reshape(-1, 2).mean(1)
    return log_odds


def fit(drawn: Drawn, among: NDArray[np.bool_]) -> Network:
    """Train on some of the faces."""
    network, rng = Network(), np.random.default_rng(SEED)
    used = among & ~np.isnan(drawn.wanted)
    squares, there = drawn.squares[used].reshape(-1, SIDE, SIDE), np.repeat(drawn.wanted[used], 2)
    clean = drawn.change[used] == "clean"
    # so few people wear real ones
    weight = np.repeat(np.where(clean, np.where(drawn.wanted[used] == 1, 5.0, 1.5), 1.0), 2)
    bare = drawn.squares[used][clean & (drawn.wanted[used] == 0)].reshape(-1, SIDE, SIDE)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    steps = len(squares) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=EPOCHS * steps)
    for epoch in range(EPOCHS):
        for batch in np.array_split(rng.permutation(len(squares)), steps):
            eyes_beneath = bare[rng.integers(0, len(bare), LENSES)]
            behind, dark = zip(*(behind_a_lens(eye, rng) for eye in eyes_beneath), strict=True)
            shown = varied(np.concatenate([squares[batch], np.stack(behind)]), rng)
            seen = np.abs(np.stack(behind).astype(float) - eyes_beneath).mean((1, 2)) > VISIBLE
            wanted = np.concatenate([there[batch], dark if drawn.what == "covered" else np.ones(LENSES)])
            counts = np.concatenate([weight[batch], np.ones(LENSES) if drawn.what == "covered" else seen])
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(torch.from_numpy(shown)[:, None])[:, 0],
                torch.from_numpy(wanted).float(),
                torch.from_numpy(counts).float(),
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        say(f"  epoch {epoch + 1} of {EPOCHS}, loss {loss.item():.3f}")
    network.eval()
    return network


def behind_a_lens(square: Squares, rng: np.random.Generator) -> tuple[Squares, bool]:
    """An eye behind a lens of any outline, colour and sheen, with or without a rim: dark ones cover it, clear ones do
    not. No shape that a version is fitted under is known by heart then."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) - SIDE / 2
    dark = bool(rng.random() < 0.5)
    half, middle = rng.uniform((10, 8), (26, 24)), SIDE / 2 + rng.normal((0, 1), 2)
    if rng.random() < 0.5:
        angle = np.linspace(0, 2 * np.pi, 40)
        reach = np.abs((np.cos(angle), np.sin(angle))) ** (2 / rng.uniform(2, 8))
        outline = middle + (np.sign((np.cos(angle), np.sin(angle))) * reach).T * half
    else:
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 9)))
        outline = middle + np.array((np.cos(angle), np.sin(angle))).T * half * rng.uniform(0.9, 1.25)
    corners = [np.rint(outline * 16).astype(np.int32)]
    paint = np.full(square.shape, rng.choice((rng.uniform(5, 50), rng.uniform(5, 240))), np.float32)
    turn = rng.uniform(0, np.pi)
    along = np.cos(turn) * x + np.sin(turn) * y
    if rng.random() < 0.5:
        paint += rng.uniform(-80, 80) * np.tanh((along + rng.uniform(-8, 8)) / rng.uniform(2, 15))
    if rng.random() < 0.25:
        paint += rng.uniform(20, 150) * np.exp(-(((along - rng.uniform(-10, 10)) / rng.uniform(1, 5)) ** 2))
    inside, rim = np.zeros(square.shape, np.float32), np.zeros(square.shape, np.float32)
    cv2.fillPoly(inside, corners, 1.0, cv2.LINE_AA, 4)
    opacity = inside * (rng.uniform(0.68, 1.0) if dark else rng.uniform(0.0, 0.32))
    if dark and rng.random() < 0.3:
        opacity *= 1 - rng.uniform(0, 0.25) * np.clip(y / SIDE + 0.3, 0, 1)
    changed = square * (1 - opacity) + paint.clip(0, 255) * opacity
    if rng.random() < 0.7:
        cv2.polylines(rim, corners, True, 1.0, int(rng.integers(1, 5)), cv2.LINE_AA, 4)
        changed = changed * (1 - rim) + rng.uniform(0, 220) * rim
    return changed.clip(0, 255).astype(np.uint8), dark


def varied(squares: Squares, rng: np.random.Generator) -> NDArray[np.float32]:
    """As other cameras, other light and other landmarks show them: gamma, exposure, noise, blur, and a little turned,
    scaled and moved."""
    changed = relit(squares, rng, light=0.25, noise=2.5)
    for i in range(len(squares)):
        if rng.random() < 0.3:
            changed[i] = cv2.GaussianBlur(changed[i], (0, 0), rng.uniform(0.4, 1.2))
        if rng.random() < 0.6:
            matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), rng.normal(0, 4), np.exp(rng.normal(0, 0.05)))
            matrix[:, 2] += rng.normal(0, 1, 2)
            changed[i] = cv2.warpAffine(changed[i], matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(changed.clip(0, 255), np.float32)


def relit(pictures: NDArray[np.uint8], rng: np.random.Generator, *, light: float, noise: float) -> NDArray[np.float32]:
    """Luminance, (N, H, W), in other light: gamma and exposure of a log-normal spread `light`, and on average `noise`
    grey levels of noise. It may lie under 0 and over 255."""
    count = len(pictures)
    gamma, exposure = np.exp(rng.normal(0, light, (2, count, 1, 1)))
    grain = rng.normal(0, 1, pictures.shape) * rng.exponential(noise, (count, 1, 1))
    return np.asarray(255 * (pictures / 255) ** gamma * exposure + grain, np.float32)


def table(drawn: Drawn, log_odds: NDArray[np.float64]) -> Iterator[str]:
    """Of how many there is what is looked for, by shape, at several limits of its probability. Of "covered" these are 1
    less `min_eyes_visible`."""
    limits = (0.7, 0.6, 0.5, 0.4, 0.3) if drawn.what == "covered" else (0.5, 0.7, 0.9, 0.95)
    yield f"| {drawn.what} | {' | '.join(f'over {limit}' for limit in limits)} |"
    yield f"| --- {'| --- ' * len(limits)}|"
    worn = (drawn.change == "clean") & (drawn.wanted != 0)
    for change in dict.fromkeys(["clean", *sorted(set(drawn.change))]):
        mine = drawn.change == change
        shares = [100 * (log_odds[mine] > np.log(limit / (1 - limit))).mean() for limit in limits]
        yield f"| {change}, {mine.sum()} | {' | '.join(f'{share:.1f} %' for share in shares)} |"
    yield f"Of the clean ones {worn.sum()} were left out of the fit, {(drawn.wanted[worn] == 1).sum()} taken for worn."


def write(file: Path, network: nn.Module, example: torch.Tensor, feeds: str, gives: str) -> None:
    """The network as ONNX, its input and output by these names; of one example the batch may have any size."""
    buffer = io.BytesIO()
    axes = {name: {0: "batch"} for name in (feeds, gives)} if len(example) == 1 else None
    names: dict[str, Any] = {"input_names": [feeds], "output_names": [gives], "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the newer exporter needs another package
        torch.onnx.export(network, (example,), buffer, **names, opset_version=17, dynamo=False)
    model = onnx.load_model_from_string(buffer.getvalue())
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())
    say(f"Wrote {file.relative_to(ROOT)}, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    sys.exit(main())
