"""A report's curves as small SVG, in the page's own text colour: readable in light, in dark and on a phone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import NormalDist
from typing import Any

Point = tuple[float, float]
_NORMAL = NormalDist()
# Okabe and Ito (2008): told apart with every kind of colour vision
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("6 3", "2 3", "8 3 2 3", "4 2", "1 2", "10 4")
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 12, 46


@dataclass(frozen=True, slots=True)
class Frame:
    """The plot's area, and how values lie in it: `x` and `y` are (lowest, highest)."""

    x: Point
    y: Point
    width: int = 560
    height: int = 380

    def at(self, x: float, y: float) -> Point:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(_LEFT + across * (self.width - _LEFT - _RIGHT), 1),
            round(self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM), 1),
        )

    def svg(self, title: str, labels: tuple[str, str], ticks: tuple[Ticks, Ticks], inside: Iterable[str]) -> str:
        """The whole chart: axes with their ticks, then what is drawn inside."""
        parts = [
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}">',
            *(self._tick(at, text, across=True) for at, text in ticks[0]),
            *(self._tick(at, text, across=False) for at, text in ticks[1]),
            f'<text x="{(self.width + _LEFT) / 2}" y="{self.height - 8}" text-anchor="middle">'
            f"{escape(labels[0])}</text>",
            f'<text transform="translate(14 {self.height / 2 - 20}) rotate(-90)" text-anchor="middle">'
            f"{escape(labels[1])}</text>",
            *inside,
            "</svg>",
        ]
        return "".join(parts)

    def _tick(self, at: float, text: str, across: bool) -> str:
        (x, y) = self.at(at, self.y[0]) if across else self.at(self.x[0], at)
        (x2, y2) = self.at(at, self.y[1]) if across else self.at(self.x[1], at)
        place = f'x="{x}" y="{y + 16}" text-anchor="middle"' if across else f'x="{x - 6}" y="{y + 4}" text-anchor="end"'
        return f'<path class="grid" d="M{x} {y}L{x2} {y2}"/><text {place}>{escape(text)}</text>'


Ticks = Sequence[tuple[float, str]]


def line(points: Iterable[Point], colour: str, dash: str = "", width: float = 1.8) -> str:
    path = "L".join(f"{x} {y}" for x, y in points)
    style = f'stroke="{colour}" stroke-width="{width}"' + (f' stroke-dasharray="{dash}"' if dash else "")
    return f'<path d="M{path}" fill="none" {style}/>' if path else ""


def det(curves: Mapping[str, Sequence[Mapping[str, float]]], at: Mapping[str, Any]) -> str:
    """FNMR against FMR on normal-deviate axes (Martin et al., 1997), and where the threshold lies.

    Args:
        curves: by system, points with `fmr` and `fnmr`; "fused" is drawn as the strong line.
        at: the report's `fmr` and `fnmr` at its threshold.
    """
    rates = (0.00001, 0.0001, 0.001, 0.01, 0.05, 0.2, 0.5)
    ticks = [(_NORMAL.inv_cdf(rate), f"{100 * rate:g} %") for rate in rates]
    lowest = min((p["fmr"] for curve in curves.values() for p in curve if p["fmr"] > 0), default=1e-4)
    first = max(i for i, rate in enumerate(rates[:4]) if rate <= lowest or i == 0)
    frame = Frame((ticks[first][0], ticks[-1][0]), (ticks[1][0], ticks[-1][0]))

    def placed(fmr: float, fnmr: float) -> Point:
        x, y = (_NORMAL.inv_cdf(min(max(rate, 1e-9), 1 - 1e-9)) for rate in (fmr, fnmr))
        return frame.at(min(max(x, frame.x[0]), frame.x[1]), min(max(y, frame.y[0]), frame.y[1]))

    drawn = []
    for index, (name, curve) in enumerate(curves.items()):
        points = [placed(p["fmr"], p["fnmr"]) for p in curve if p["fnmr"] <= 0.5 and p["fmr"] <= 0.5]
        drawn.append(line(points, **stroke(name, index)))
    x, y = placed(at["fmr"]["value"], at["fnmr"]["value"])
    drawn.append(f'<circle cx="{x}" cy="{y}" r="6" fill="none" stroke="currentColor" stroke-width="2"/>')
    labels = ("FMR: strangers that match", "FNMR: the same person does not match")
    return frame.svg("DET curve", labels, (ticks[first:], ticks[1:]), drawn)


def stroke(name: str, index: int) -> dict[str, Any]:
    if name == "fused":
        return {"colour": "currentColor", "width": 2.6}
    return {"colour": COLOURS[index % len(COLOURS)], "dash": _DASHES[index % len(_DASHES)]}


def histogram(data: Mapping[str, Any], threshold: float | None) -> str:
    """Both classes' scores, each as a share of its own comparisons."""
    edges = data["edges"]
    shares = {side: _shares(data[side]) for side in ("non_mated", "mated")}
    top = max(0.05, *(max(values) for values in shares.values()))
    frame = Frame((edges[0], edges[-1]), (0.0, top))
    drawn = []
    for side, colour in (("non_mated", COLOURS[1]), ("mated", COLOURS[0])):
        bars = zip(edges, edges[1:], shares[side], strict=False)
        drawn += [_bar(frame, low, high, share, colour) for low, high, share in bars if share]
    if threshold is not None:
        drawn.append(line([frame.at(threshold, 0), frame.at(threshold, top)], "currentColor", "4 3"))
        x, y = frame.at(threshold, top)
        drawn.append(f'<text x="{x + 5}" y="{y + 12}">threshold {threshold:.2f}</text>')
    ticks = [(float(e), f"{e:g}") for e in edges if e % 5 == 0]
    up = [(top * i / 4, f"{100 * top * i / 4:.0f} %") for i in range(5)]
    return frame.svg("Scores", ("score (natural-log likelihood ratio)", "share of its class"), (ticks, up), drawn)


def _bar(frame: Frame, low: float, high: float, share: float, colour: str) -> str:
    (x, y), (x2, bottom) = frame.at(low, share), frame.at(high, 0)
    return (
        f'<rect x="{x + 0.5}" y="{y}" width="{x2 - x - 1:.1f}" height="{bottom - y:.1f}" fill="{colour}" '
        'fill-opacity="0.55"/>'
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """What the scores claim against what is so, with intervals; on the diagonal they are the same."""
    frame = Frame((0.0, 1.0), (0.0, 1.0), width=420, height=400)
    drawn = [line([frame.at(0, 0), frame.at(1, 1)], "currentColor", "2 4", 1)]
    for item in bins:
        if item["observed"] is None:
            continue
        x, y = frame.at(item["claimed"], item["observed"]["value"])
        low, high = (frame.at(item["claimed"], item["observed"][side]) for side in ("low", "high"))
        drawn.append(line([low, high], COLOURS[0], width=2))
        drawn.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{COLOURS[0]}"/>')
    ticks = [(i / 4, f"{i / 4:g}") for i in range(5)]
    labels = ("probability that the score claims", "share that is the same person")
    return frame.svg("Reliability", labels, (ticks, ticks), drawn)
