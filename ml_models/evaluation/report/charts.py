"""A report's charts as plain values: where every line, bar and dot lies. `templates/chart.svg` draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

Point = tuple[float, float]
Curves = Mapping[str, Sequence[float]]
# Okabe and Ito (2008): distinct with every kind of colour vision
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("6 3", "2 3", "8 3 2 3", "4 2", "1 2", "10 4")
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 12, 46
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high` in the data's units; `ticks` are values with their text."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Stroke:
    """How a line is drawn: `width` in pixels, `dash` as in SVG's `stroke-dasharray`."""

    colour: str = "currentColor"
    width: float = 1.8
    dash: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """`points` in pixels; a line with a name stands in the key."""

    points: Sequence[Point]
    stroke: Stroke
    name: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """`boxes` are (x, y, width, height) in pixels."""

    boxes: Sequence[tuple[float, float, float, float]]
    colour: str
    name: str


@dataclass(slots=True)
class Chart:
    """Axes and what is drawn between them. The methods take data's units; what they store is in pixels, with y
    downwards: `ticks_x` and `ticks_y` (pixel, text), `lines`, `bars`, `dots` (centre, colour), `rings` (centre) and
    `notes` (place, text)."""

    title: str
    x: Axis
    y: Axis
    width: int = 560
    height: int = 380
    lines: list[Line] = field(default_factory=list)
    bars: list[Bars] = field(default_factory=list)
    dots: list[tuple[Point, str]] = field(default_factory=list)
    rings: list[Point] = field(default_factory=list)
    notes: list[tuple[Point, str]] = field(default_factory=list)

    left = _LEFT
    top = _TOP

    @property
    def right(self) -> int:
        return self.width - _RIGHT

    @property
    def bottom(self) -> int:
        return self.height - _BOTTOM

    @property
    def ticks_x(self) -> list[tuple[float, str]]:
        return [(self.at(value, self.y.low)[0], text) for value, text in self.x.ticks]

    @property
    def ticks_y(self) -> list[tuple[float, str]]:
        return [(self.at(self.x.low, value)[1], text) for value, text in self.y.ticks]

    def at(self, x: float, y: float) -> Point:
        """Where a pair of values lies, in pixels; values beyond an axis lie on its end."""
        across = (min(max(x, self.x.low), self.x.high) - self.x.low) / (self.x.high - self.x.low)
        up = (min(max(y, self.y.low), self.y.high) - self.y.low) / (self.y.high - self.y.low)
        return (
            round(self.left + across * (self.right - self.left), 1),
            round(self.bottom - up * (self.bottom - self.top), 1),
        )

    def add_line(self, points: Iterable[Point], stroke: Stroke, name: str = "") -> None:
        self.lines.append(Line([self.at(x, y) for x, y in points], stroke, name))

    def add_bars(self, edges: Sequence[float], heights: Sequence[float], colour: str, name: str) -> None:
        """Bars from 0; empty bins have none. A pixel is left between neighbours."""
        boxes = []
        for low, high, value in zip(edges, edges[1:], heights, strict=False):
            (x, y), (x_end, y_end) = self.at(low, value), self.at(high, 0)
            if value:
                boxes.append((x + 0.5, y, round(x_end - x - 1, 1), round(y_end - y, 1)))
        self.bars.append(Bars(boxes, colour, name))


def det(curves: Mapping[str, Sequence[Mapping[str, float]]], at: Mapping[str, Any]) -> Chart:
    """FNMR against FMR on normal-deviate axes (Martin et al., 1997), with a ring at the version's threshold.

    Args:
        curves: by system, points with `fmr` and `fnmr`; "fused" is drawn as the strong line.
        at: the report's `fmr` and `fnmr` at its threshold.
    """
    rates = (0.00001, 0.0001, 0.001, 0.01, 0.05, 0.2, 0.5)
    ticks = [(_deviate(rate), f"{100 * rate:g} %") for rate in rates]
    lowest = min((p["fmr"] for curve in curves.values() for p in curve if p["fmr"] > 0), default=1e-4)
    first = max(i for i, rate in enumerate(rates[:4]) if rate <= lowest or i == 0)
    chart = Chart(
        "DET curve",
        Axis("FMR: strangers that match", ticks[first][0], ticks[-1][0], ticks[first:]),
        Axis("FNMR: the same person does not match", ticks[1][0], ticks[-1][0], ticks[1:]),
    )
    for index, (name, curve) in enumerate(curves.items()):
        points = [(_deviate(p["fmr"]), _deviate(p["fnmr"])) for p in curve if p["fnmr"] <= 0.5 and p["fmr"] <= 0.5]
        chart.add_line(points, _stroke(name, index), name)
    chart.rings.append(chart.at(_deviate(at["fmr"]["value"]), _deviate(at["fnmr"]["value"])))
    return chart


def _deviate(rate: float) -> float:
    return _NORMAL.inv_cdf(min(max(rate, 1e-9), 1 - 1e-9))


def _stroke(name: str, index: int) -> Stroke:
    if name == "fused":
        return Stroke(width=2.6)
    return Stroke(COLOURS[index % len(COLOURS)], dash=_DASHES[index % len(_DASHES)])


def histogram(data: Mapping[str, Any], threshold: float | None) -> Chart:
    """Both classes' scores, each as a share of its own comparisons.

    Args:
        data: the report's `histogram`: bin `edges` and the counts of `mated` and `non_mated` comparisons.
        threshold: in the score's units; None where it differed by part.
    """
    edges = data["edges"]
    shares = {side: _shares(data[side]) for side in ("non_mated", "mated")}
    top = max(0.05, *(max(values) for values in shares.values()))
    chart = Chart(
        "Scores",
        Axis("score (natural-log likelihood ratio)", edges[0], edges[-1], [(e, f"{e:g}") for e in edges if e % 5 == 0]),
        Axis("share of its class", 0.0, top, [(top * i / 4, f"{100 * top * i / 4:.0f} %") for i in range(5)]),
    )
    chart.add_bars(edges, shares["non_mated"], COLOURS[1], "strangers")
    chart.add_bars(edges, shares["mated"], COLOURS[0], "the same person")
    if threshold is not None:
        chart.add_line([(threshold, 0), (threshold, top)], Stroke(dash="4 3"))
        x, y = chart.at(threshold, top)
        chart.notes.append(((x + 5, y + 12), f"threshold {threshold:.2f}"))
    return chart


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def reliability(bins: Sequence[Mapping[str, Any]]) -> Chart:
    """The probability that the scores claim against the observed share, with intervals; on the diagonal both are equal.

    Args:
        bins: the report's `reliability`; a bin of too few comparisons (`observed` is None) is not drawn.
    """
    ticks = [(i / 4, f"{i / 4:g}") for i in range(5)]
    chart = Chart(
        "Reliability",
        Axis("probability that the score claims", 0.0, 1.0, ticks),
        Axis("share that is the same person", 0.0, 1.0, ticks),
        width=420,
        height=400,
    )
    chart.add_line([(0, 0), (1, 1)], Stroke(width=1, dash="2 4"))
    for item in bins:
        if item["observed"] is not None:
            ends = [(item["claimed"], item["observed"][side]) for side in ("low", "high")]
            chart.add_line(ends, Stroke(COLOURS[0], width=2))
            chart.dots.append((chart.at(item["claimed"], item["observed"]["value"]), COLOURS[0]))
    return chart


_MEASURES = ("feature_norm", "detector_score", "yaw_deg", "face_px", "sharpness", "brightness", "contrast")
MEASURE_STROKES: Mapping[str, Stroke] = {
    "score": Stroke(width=3),
    **{name: Stroke(colour, 1.3) for name, colour in zip(_MEASURES, (*COLOURS, "#999999"), strict=True)},
}
"""The quality measures that are drawn; a measure has the same colour in every plot."""


def error_versus_discard(shares: Sequence[float], name: str, curves: Curves) -> Chart:
    """The FNMR of what is left against the share discarded, the quality score as the strong line.

    Args:
        shares: what is discarded, in [0, 1], rising.
        name: of the list.
        curves: by measure, FNMR in [0, 1], one value a share; measures without a stroke are left out.
    """
    drawn = {measure: curves[measure] for measure in MEASURE_STROKES if measure in curves}
    top = max(map(max, drawn.values())) * 1.05 or 1.0
    last = shares[-1]
    chart = Chart(
        f"{name}: FNMR of what is left",
        Axis("discarded", 0.0, last, [(last * i / 3, f"{100 * last * i / 3:.0f} %") for i in range(4)]),
        Axis("FNMR", 0.0, top, [(top * i / 2, f"{100 * top * i / 2:.1f} %") for i in range(3)]),
        width=330,
        height=230,
    )
    for measure, values in drawn.items():
        chart.add_line(zip(shares, values, strict=True), MEASURE_STROKES[measure], measure)
    return chart
