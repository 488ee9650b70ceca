"""A report as one HTML file: nothing is fetched, nothing runs, no picture of anybody is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..rates.systems import TAR_IN_TABLES
from . import advice, charts

Data = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
section { min-width: 0; } p, li { overflow-wrap: anywhere; max-width: 48rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #8884; }
th[scope=row] { position: sticky; left: 0; background: Canvas; min-width: 6.5rem; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; } small { opacity: .75; }
svg { width: 100%; max-width: 44rem; height: auto; font: 12px system-ui, sans-serif; fill: currentColor; }
.grid { stroke: #8883; } .key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; list-style: none; }
.key svg { width: 2.2rem; height: .8rem; vertical-align: middle; } ul.lines { padding: 0; list-style: none; }
.missing { color: #b91c1c; } @media (prefers-color-scheme: dark) { .missing { color: #fca5a5; } }
"""


def page(data: Data) -> str:
    """The whole page.

    Args:
        data: what `evaluate --json` prints.
    """
    about = data["about"]
    title = f"Version {about['version']}: {about['name']}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}, measured</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{escape(title)}, measured</h1>",
        *_whom(data),
        _section("What to do next", _list(advice.advice(data))),
        _section("Evidence for production", _evidence(data["evidence"])),
        _section("At its threshold", _rates(data)),
        _section("With several references and frames", _cells(data)),
        _section("Every member alone, and fused", _systems(data)),
        _section("One error against the other", _det(data)),
        _section("Scores", _scores(data)),
        _section("Do the scores mean what they say?", _reliability(data["reliability"])),
        _section("By pose, light, blur, size and what the list says", _slices(data)),
        _section("Under stress", _stress(data)),
        _section("The worst errors", _worst(data["worst"])),
        _section("How it was measured", _how(data)),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def rate(value: Mapping[str, float] | None) -> str:
    """`1.23 % (0.98–1.51)`, or that there is nothing to say."""
    if value is None:
        return "–"
    return f"{_percent(value['value'])} % <small>({_percent(value['low'])}–{_percent(value['high'])})</small>"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}" if value == 0 or value >= 0.001 else f"{100 * value:.3f}"


def _section(title: str, *inside: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(inside)}</section>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _list(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells of `rows` are HTML, the first one heads its row."""
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _whom(data: Data) -> list[str]:
    lists = ", ".join(data["about"]["lists"])
    compared = "all pictures of a list against all others" if data["about"]["all_pairs"] else "the pairs as listed"
    return [
        _paragraph(
            f"{data['subjects']:,} subjects, {data['images']:,} pictures, {data['mated']:,} mated and "
            f"{data['non_mated']:,} non-mated comparisons: {lists}; {compared}."
        ),
        _paragraph(f"Whom the pictures show: {data['about']['people']}"),
    ]


def _evidence(lines: Sequence[Data]) -> str:
    items = "".join(
        f"<li{'' if line['met'] else ' class=missing'}>{'✓' if line['met'] else '✗'} {escape(line['says'])}</li>"
        for line in lines
    )
    return f'<ul class="lines">{items}</ul>'


def _rates(data: Data) -> str:
    threshold = data["threshold"]
    where = "differs by part (cross-validated)" if threshold is None else f"{threshold:.2f}"
    failures = ", ".join(f"{code}: {count}" for code, count in data["failures"].items()) or "none"
    rows = [
        ("FMR", rate(data["fmr"]), "of comparisons of strangers, how many match"),
        ("FNMR", rate(data["fnmr"]), "of comparisons of one person, how many do not match"),
        ("FAR", rate(data["far"]), "of strangers' attempts, how many are accepted"),
        ("FRR", rate(data["frr"]), "of one person's attempts, how many are rejected, failures to acquire included"),
        ("FTA", rate(data["fta"]), f"pictures that no face could be acquired from ({escape(failures)})"),
    ]
    return _paragraph(f"Threshold: {where}, in natural-log likelihood ratios.") + _table(
        ("", "95 % interval", ""), rows
    )


def _cells(data: Data) -> str:
    if not data.get("cells"):
        return _paragraph("Not measured: it takes several pictures of a person, and some thousand attempts.")
    rows = [
        (
            escape(f"{cell['list']}{_under(cell)}: {cell['references']} × {cell['frames']}"),
            f"{cell['mated']:,}",
            f"{cell['non_mated']:,}",
            rate(cell["fmr"]),
            rate(cell["fnmr"]),
        )
        for cell in data["cells"]
    ]
    told = "References × frames of one attempt, at the threshold of the members that vote."
    return _table(("", "mated", "non-mated", "FMR", "FNMR"), rows) + _paragraph(told)


def _under(cell: Data) -> str:
    return f" ({cell['under'].replace('_', ' ')})" if cell.get("under") else ""


def _systems(data: Data) -> str:
    systems = {**data["members"], "fused": data["fused"]}
    targets = list(data["fused"]["tar_at_fmr"])
    head = ("", "EER", *(f"TAR at FMR {100 * float(t):g} %" for t in targets), "accuracy, 10 folds")
    rows = [
        (
            escape(name),
            rate(found["eer"]),
            *(rate(found["tar_at_fmr"][target]) for target in targets),
            rate(found["accuracy"]),
        )
        for name, found in systems.items()
    ]
    cllr = data["fused"]["cllr"]
    return _table(head, rows) + _paragraph(
        f"Cllr of the fused score: {cllr['value']:.3f} bits ({cllr['low']:.3f}–{cllr['high']:.3f}); 0 is perfect, 1 "
        "knows nothing. – means that the comparisons are too few for the figure."
    )


def _det(data: Data) -> str:
    keys = []
    for index, name in enumerate(data["det"]):
        style = charts.stroke(name, index)
        keys.append(f'<li><svg viewBox="0 0 36 10">{charts.line([(0, 5), (36, 5)], **style)}</svg> {escape(name)}</li>')
    told = "Nearer to the lower left is better. The circle is the version at its threshold."
    return charts.det(data["det"], data) + f'<ul class="key">{"".join(keys)}</ul>' + _paragraph(told)


def _scores(data: Data) -> str:
    sides = (("strangers", charts.COLOURS[1]), ("the same person", charts.COLOURS[0]))
    box = '<svg viewBox="0 0 36 10"><rect width="36" height="10" fill="{}" fill-opacity=".55"/></svg>'
    keys = "".join(f"<li>{box.format(colour)} {name}</li>" for name, colour in sides)
    return charts.histogram(data["histogram"], data["threshold"]) + f'<ul class="key">{keys}</ul>'


def _reliability(bins: Sequence[Data]) -> str:
    rows = [
        (
            _range(item["low"], item["high"]),
            f"{item['mated']:,}",
            f"{item['non_mated']:,}",
            "–" if item["claimed"] is None else f"{100 * item['claimed']:.2f} %",
            rate(item["observed"]),
        )
        for item in bins
    ]
    head = ("score", "mated", "non-mated", "claimed", "observed")
    told = "Both classes weigh the same: the share of the same person where either was equally likely beforehand."
    return charts.reliability(bins) + _table(head, rows) + _paragraph(told)


def _range(low: float | None, high: float | None) -> str:
    return f"under {high:g}" if low is None else f"from {low:g}" if high is None else f"{low:g} to {high:g}"


def _slices(data: Data) -> str:
    if not data["slices"]:
        return _paragraph("Too few comparisons to be cut into slices.")
    rows = [(escape(f"{row['by']}: {row['slice']}"), *_row(row)) for row in data["slices"]]
    told = (
        "The worse of the two pictures decides. FMR and FNMR are at the version's own threshold; for a member, at the "
        "threshold at which it alone holds the target FMR on all of these comparisons. TAR is at an FMR of "
        f"{100 * TAR_IN_TABLES:g} % within the line."
    )
    return _table(("", *_row_head(data)), rows) + _paragraph(told)


def _stress(data: Data) -> str:
    if not data["stress"]:
        return _paragraph("Not measured: give evaluate --stress all.")
    rows = [
        (escape(row["stress"].replace("_", " ")), rate(row["fta"]), rate(row["frr"]), *_row(row))
        for row in data["stress"]
    ]
    told = "The second picture of each pair is put under the stress; the first stays clean."
    return _table(("", "FTA", "FRR, FTA included", *_row_head(data)), rows) + _paragraph(told)


def _row_head(data: Data) -> tuple[str, ...]:
    return (
        "mated",
        "non-mated",
        "fused FNMR",
        "fused FMR",
        "fused TAR",
        *(f"{name} {what}" for name in data["members"] for what in ("FNMR", "TAR")),
    )


def _row(row: Data) -> tuple[str, ...]:
    fused = row["fused"]
    members = (rate(found[what]) for found in row["members"].values() for what in ("fnmr", "tar"))
    figures = (rate(fused["fnmr"]), rate(fused["fmr"]), rate(fused["tar"]))
    return (f"{row['mated']:,}", f"{row['non_mated']:,}", *figures, *members)


def _worst(worst: Data) -> str:
    head = ("pair", "score", "similarities", "yaw", "luminance", "sharpness", "face, px")
    told = "Named by the first twelve hex digits of both files' sha256; of two measures the worse one."
    parts = [_paragraph(told)]
    for kind, title in (("false_matches", "Strangers that match"), ("false_non_matches", "One person, no match")):
        rows = [
            (
                f"<code>{escape(item['pair'])}</code>",
                f"{item['score']:.2f}",
                escape(", ".join(f"{name} {value:.2f}" for name, value in item["similarities"].items())),
                *(f"{item[key]:.0f}" for key in ("yaw_deg", "brightness", "sharpness", "face_px")),
            )
            for item in worst[kind]
        ]
        parts.append(f"<h3>{escape(title)}</h3>" + (_table(head, rows) if rows else _paragraph("None.")))
    return "".join(parts)


def _how(data: Data) -> str:
    crossed = data["cross_validated"]
    numbers = (
        f"with numbers fitted on other people than the two in it (parts: {crossed})"
        if crossed
        else "with the version's own numbers"
    )
    files = _table(
        ("artifact", "sha256"), [(escape(n), f"<code>{h}</code>") for n, h in data["about"]["artifacts"].items()]
    )
    told = [
        f"Every picture went through the version's own pipeline once, and was compared {numbers}.",
        "Intervals hold 95 %: people are drawn with replacement a thousand times, both sides of a comparison; with "
        "fewer than five people in error they are widened to the exact binomial interval.",
        f"Digest of what the version decides with: {data['digest']}.",
        f"Digest of what it was measured on: {data['list_digest']}.",
    ]
    return _list([*told, *data["warnings"]]) + files
