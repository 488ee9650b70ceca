"""Error-versus-discard curves as an SVG: a panel a list, the score thick. No picture, no name in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

Curves = Mapping[str, Sequence[float]]

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 330, 240, 48, 34, 34
_LEGEND = 20
# Okabe and Ito's palette, told apart by the colour-blind too
_COLOURS = {
    "score": "#000000",
    "feature_norm": "#0072B2",
    "detector_score": "#D55E00",
    "yaw_deg": "#009E73",
    "face_px": "#CC79A7",
    "sharpness": "#E69F00",
    "brightness": "#56B4E9",
    "contrast": "#999999",
}


def svg(shares: Sequence[float], panels: Mapping[str, Curves]) -> str:
    """One panel for each set of curves: the share discarded to the right, the FNMR of what is left upwards.

    Args:
        shares: what is discarded, in [0, 1], rising.
        panels: by the list's name the curves by measure, FNMR in [0, 1], one value a share; measures without a colour
            here are left out.
    """
    width = max(_WIDTH * len(panels), _LEFT + 105 * len(_COLOURS))
    height = _HEIGHT + _LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    parts += [_panel(shares, name, curves, index * _WIDTH) for index, (name, curves) in enumerate(panels.items())]
    parts += [
        f'<text x="{_LEFT + index * 105}" y="{_HEIGHT + 12}" fill="{colour}">— {name}</text>'
        for index, (name, colour) in enumerate(_COLOURS.items())
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(shares: Sequence[float], name: str, curves: Curves, left: int) -> str:
    top = max(max(values) for measure, values in curves.items() if measure in _COLOURS) * 1.05 or 1.0
    x0, y0 = left + _LEFT, _HEIGHT - _BOTTOM
    across, up = (_WIDTH - _LEFT - 16) / shares[-1], (y0 - _TOP) / top

    def line(measure: str, colour: str) -> str:
        points = " ".join(
            f"{x0 + share * across:.1f},{y0 - value * up:.1f}"
            for share, value in zip(shares, curves[measure], strict=True)
        )
        thick = 3 if measure == "score" else 1.3
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{thick}"/>'

    ticks = [
        f'<text x="{x0 + share * across:.0f}" y="{y0 + 14}" text-anchor="middle">{share:.0%}</text>'
        for share in (0.0, shares[-1] / 3, shares[-1] * 2 / 3, shares[-1])
    ]
    ticks += [
        f'<text x="{x0 - 4}" y="{y0 - value * up + 4:.0f}" text-anchor="end">{value:.1%}</text>'
        for value in (0.0, top / 2, top)
    ]
    return "\n".join(
        [
            f'<text x="{x0}" y="18">{escape(name)}: FNMR of what is left</text>',
            f'<path d="M{x0} {_TOP}V{y0}H{left + _WIDTH - 16}" fill="none" stroke="#444"/>',
            *ticks,
            f'<text x="{left + _WIDTH - 16}" y="{y0 + 28}" text-anchor="end">discarded</text>',
            *(line(measure, colour) for measure, colour in _COLOURS.items() if measure in curves),
        ]
    )
