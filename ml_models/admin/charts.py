"""Bars of counts, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from .display import words

# colours that people who see red and green alike tell apart (Okabe and Ito)
FILLS = {
    "match": "#0072b2",
    "review": "#e69f00",
    "no_match": "#d55e00",
    "not_acquired": "#cc79a7",
    "failed": "#666666",
    "quality": "#0072b2",
}


def stacked(columns: Sequence[Mapping[str, int]], most: float, width: int, height: int, gap: float) -> SafeString:
    """A bar for each column, its counts on top of each other.

    Args:
        columns: counts by a name in `FILLS`.
        most: the count that is as tall as the chart.
        width, height, gap: in the chart's units.
    """
    wide = width / len(columns)
    parts = []
    for place, counts in enumerate(columns):
        base = float(height)
        for name, fill in FILLS.items():
            tall = height * counts.get(name, 0) / most
            base -= tall
            if tall:
                x, y = f"{place * wide + gap / 2:.1f}", f"{base:.1f}"
                parts.append((x, y, f"{wide - gap:.1f}", f"{tall:.1f}", fill))
    return format_html_join("", '<rect x="{}" y="{}" width="{}" height="{}" fill="{}"/>', parts)


def key(name: str) -> SafeString:
    """A name in `FILLS` behind the colour of its bars."""
    swatch = '<svg class="fv-key" viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" fill="{}"/></svg>'
    return format_html('<span class="fv-member">' + swatch + " {}</span>", FILLS[name], words(name))
