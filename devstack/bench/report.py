"""What was measured, for a terminal and for docs/performance.md."""

from __future__ import annotations

from typing import Any

Rows = list[tuple[str, ...]]


def tables(result: dict[str, Any]) -> list[tuple[str, tuple[str, ...], Rows]]:
    """Title, head and rows of each table."""
    face, rosters, crowd = result["face"], result["rosters"], result["crowd"]
    return [
        ("One face", ("", "ms", "of the limit"), _face(face)),
        (
            "Steps of an extraction, one after another",
            ("step", "ms"),
            [(k, _1(v)) for k, v in face["steps_ms"].items()],
        ),
        ("The networks on one core", ("file", "own ms", "served ms", "engine"), _networks(face)),
        (
            "OpenVINO's processor time, the other engine's being 1",
            ("file", "ratio"),
            [(name, _2(ratio)) for name, ratio in face["openvino_to_other"].items()],
        ),
        ("Is somebody there", ("", "ms", "a single picture's being 1"), _challenged(result["challenged"], face)),
        ("Identify, candidates × references of each", ("roster", "ms", "verify's being 1"), _rosters(rosters)),
        (
            "Large pictures",
            ("picture", "decode ms", "of it the codec", "verify ms", "of the small one's"),
            _large(result),
        ),
        (
            "Clients that ask again as soon as they are answered",
            ("clients", "good a second", "p50 ms", "p95 ms", "refused", "generator's cores"),
            [
                (n, _1(f["per_s"]), _1(f["p50_ms"]), _1(f["p95_ms"]), str(f["refused"]), _2(f["generator_cores"]))
                for n, f in crowd["throughput"].items()
            ],
        ),
        ("Offered, in multiples of the capacity", _OFFERED, _overload(crowd["overload"])),
        ("Steadiness", ("", ""), _steadiness(crowd, rosters)),
    ]


_OFFERED = (
    "offered",
    "goodput / capacity beside it",
    "without the generator's share",
    "accepted p95 / unloaded",
    "refused a second",
    "refused p95 ms",
    "probes max ms",
    "memory / before",
)


def _face(face: dict[str, Any]) -> Rows:
    names = ("extract", "extract_side_by_side", "enroll", "verify")
    rows: Rows = [("the networks' own sum: the limit", _1(face["limit_ms"]), "1")]
    rows += [(name.replace("_", " "), _1(face[f"{name}_ms"]), _2(face[f"{name}_to_limit"])) for name in names]
    rows += [
        ("around the pictures", _1(face["around_ms"]), ""),
        ("verify, p95 / p50", _2(face["verify_p95_to_p50"]), ""),
    ]
    return rows


def _large(result: dict[str, Any]) -> Rows:
    return [
        (name, _1(f["decode_ms"]), _1(f["codec_ms"] or None), _1(f["verify_ms"]), _2(f["verify_to_small"]))
        for name, f in result["pictures"].items()
    ]


def _networks(face: dict[str, Any]) -> Rows:
    return [(n, _1(ms), _1(face["served_ms"][n]), face["engines"][n]) for n, ms in face["own_ms"].items()]


def _challenged(challenged: dict[str, Any], face: dict[str, Any]) -> Rows:
    passive = face["steps_ms"].get("presentation")
    return [
        ("the attack detector, in each verify", _1(passive), ""),
        ("verify, a single picture", _1(challenged["verify_ms"]), "1"),
        (
            f"verify, a challenge of {challenged['steps']} steps",
            _1(challenged["challenged_ms"]),
            _2(challenged["challenged_to_verify"]),
        ),
    ]


def _rosters(rosters: dict[str, Any]) -> Rows:
    rows: Rows = [("verify", _1(rosters["verify_ms"]), "1")]
    return rows + [
        (name, _1(ms), _2(rosters["identify_to_verify"][name])) for name, ms in rosters["identify_ms"].items()
    ]


def _overload(overload: dict[str, Any]) -> Rows:
    return [
        (
            f"{times} ×",
            _2(f["goodput_to_capacity"]),
            _2(f["goodput_to_capacity_beside_the_generator"]),
            _2(f["accepted_p95_to_unloaded"]),
            _1(f["refused_per_s"]),
            _1(f["refused_p95_ms"]),
            _1(f["probe_max_ms"]),
            _2(f["memory_to_before"]),
        )
        for times, f in overload.items()
        if isinstance(f, dict)
    ]


def _steadiness(crowd: dict[str, Any], rosters: dict[str, Any]) -> Rows:
    rows: Rows = [("normal again after an overload, s", _1(crowd["overload"]["normal_again_after_s"]))]
    rows += [("p50 beside 200 slow clients / alone", _2(crowd["slow"]["p50_to_alone"]))]
    for what, growth in (("verifies", crowd["growth"]), ("identifications of 200", rosters["growth"])):
        if growth:
            name = f"memory after {growth['calls']:,} {what} / after the first tenth"
            rows += [(name, f"{growth['memory_to_the_first_tenth']:.3f}")]
    return rows


def text(result: dict[str, Any]) -> str:
    parts = []
    for title, head, rows in tables(result):
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
        parts.append("\n".join([title, *(f"  {line.rstrip()}" for line in lines)]))
    return "\n\n".join(parts)


def markdown(result: dict[str, Any], command: str) -> str:
    machine = result["machine"]
    intro = (
        "# Performance\n\nWritten by "
        f"`{command}` on {machine['date']}: {machine['cores']} cores of {machine['processor']}, load {machine['load']} "
        "before it began. Milliseconds are this machine's; compare ratios."
    )
    parts = [intro]
    for title, head, rows in tables(result):
        lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
        parts.append("\n".join([f"## {title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def _1(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _2(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
