"""The files that a report is read in: one HTML page, and the plot of the quality measures. Their text and layout are in
`templates/`. Nothing is fetched, nothing runs, no picture of anybody is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..rates.metrics import RATES
from ..rates.systems import TAR_IN_TABLES
from . import attributes, charts, groups
from .advice import advice


def _percent(rate: float) -> str:
    """A rate in [0, 1] in percent: two decimals, three for a rate under 0.1 %."""
    return f"{100 * rate:.2f}" if rate == 0 or rate >= 0.001 else f"{100 * rate:.3f}"


# all that is put into a template is escaped, whatever the file is called; a figure that is missing is an error
_TEMPLATES = Environment(
    loader=PackageLoader("ml_models.evaluation.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {"percent": _percent, "thousands": "{:,}".format}


def page(data: Mapping[str, Any]) -> str:
    """The whole report as one HTML page.

    Args:
        data: what `evaluate --json` prints.

    Raises:
        jinja2.UndefinedError: a figure that the page shows is missing.
    """
    return _TEMPLATES.get_template("report.html").render(
        report=data,
        advice=advice(data),
        rates=RATES,
        rate_names=groups.RATES,
        fewest_people=attributes.FEWEST_PEOPLE,
        tar_fmr=TAR_IN_TABLES,
        det=charts.det(data["det"], data),
        scores=charts.histogram(data["histogram"], data["threshold"]),
        reliability=charts.reliability(data["reliability"]),
    )


def presentation_page(data: Mapping[str, Any]) -> str:
    """The report on presentation attacks as one HTML page.

    Args:
        data: what `evaluate_presentation --json` prints.
    """
    return _TEMPLATES.get_template("presentation.html").render(report=data)


def discard_plot(shares: Sequence[float], panels: Mapping[str, charts.Curves]) -> str:
    """Error-versus-discard curves as one SVG, a panel for each list.

    Args:
        shares: what is discarded, in [0, 1], rising.
        panels: by the list's name, the curves by measure: see `charts.error_versus_discard`.
    """
    return _TEMPLATES.get_template("discard.svg").render(
        panels=[charts.error_versus_discard(shares, name, curves) for name, curves in panels.items()],
        strokes=charts.MEASURE_STROKES,
    )
