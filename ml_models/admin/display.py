"""How values read on a page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from ml_models.models import EnsembleConfig, EvaluationReport, Identification, Rollout, Verification
from ml_models.rollouts.estimates import Cost
from ml_models.versions.comparison import Change

TONES = {
    EnsembleConfig.State.DRAFT: "grey",
    EnsembleConfig.State.VALIDATED: "blue",
    EnsembleConfig.State.ROLLING_OUT: "orange",
    EnsembleConfig.State.ACTIVE: "green",
    EnsembleConfig.State.RETIRED: "grey",
    Rollout.State.EMBEDDING: "blue",
    Rollout.State.PAUSED: "orange",
    Rollout.State.AWAITING_APPROVAL: "orange",
    Rollout.State.COMPLETE: "green",
    Rollout.State.ABORTED: "grey",
    Rollout.State.FAILED: "red",
    "queued": "grey",
    "running": "blue",
    "done": "green",
    "better": "green",
    "worse": "red",
    "match": "green",
    "review": "orange",
    "no_match": "red",
    "allowed": "green",
    "forbidden": "red",
    "unknown": "orange",
}


def words(code: str) -> str:
    return code.replace("_", " ")


def attempt(row: Verification | Identification) -> str:
    """What an attempt came to, in words: its outcome, what spoke against the picture, where it was taken."""
    dropped = [reason["text"] for frame in row.frames_dropped for reason in frame.get("details", ())]
    advice = dict.fromkeys([*row.quality.get("reasons", ()), *dropped])
    return ", ".join(filter(None, [words(row.decision or row.code or "no outcome"), *advice, row.capture_point]))


def label(code: str) -> SafeString:
    """A state or decision as a coloured word."""
    return format_html('<span class="fv-label fv-{}">{}</span>', TONES.get(code, "grey"), words(code))


def moment(at: datetime | None) -> str:
    """A time as every page writes it, in the host's time zone; templates use the filter `date:"Y-m-d H:i T"`."""
    return "–" if at is None else f"{localtime(at):%Y-%m-%d %H:%M %Z}"


def duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {max(1, round(seconds))} s"


def percents(rate: float) -> str:
    """A rate in [0, 1], with as many decimals as in a report."""
    return f"{100 * rate:.2f}" if rate == 0 or rate >= 0.001 else f"{100 * rate:.3f}"


def share(rate: Any) -> str:
    """A rate of a report, {"value", "low", "high"} in [0, 1], as percents."""
    try:
        return f"{percents(rate['value'])} % ({percents(rate['low'])}–{percents(rate['high'])})"
    except (KeyError, TypeError):
        return "not measured"


def headline(report: EvaluationReport | None) -> str:
    """A report in one line."""
    if report is None:
        return "not measured"
    data = report.data
    how = ", cross-validated" if data.get("cross_validated") else ""
    people = f"{data['subjects']:,}" if "subjects" in data else "?"
    return f"FMR {share(data.get('fmr'))}, FNMR {share(data.get('fnmr'))}; {people} subjects{how}"


def change_facts(change: Change) -> dict[str, str]:
    """One figure of two versions as a line of a table."""
    first, second = (
        "not measured" if value is None else f"{percents(value)} %" for value in (change.first, change.second)
    )
    between = (
        "" if change.low is None or change.high is None else f"{100 * change.low:+.2f} to {100 * change.high:+.2f}"
    )
    return {"what": change.what, "first": first, "second": second, "between": between, "verdict": label(change.verdict)}


def cost_facts(cost: Cost) -> list[tuple[str, str]]:
    """What an activation would take, as lines of a page."""
    if not cost.references:
        return [("References to embed", "none: it goes live as soon as every process has loaded its networks")]
    unknown = "unknown: its networks have not been timed; it is told once the first chunk is done"
    takes = unknown if cost.seconds is None else f"{duration(cost.seconds)} with one worker on a machine like this one"
    return [
        ("References to embed", f"{cost.references:,}"),
        ("New embeddings", f"{cost.embeddings:,}"),
        ("Estimated time", takes),
        ("New data", f"about {filesizeformat(cost.new_bytes)}"),
    ]
