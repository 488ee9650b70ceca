"""docs/accuracy.md, measured: versions 1 and 4 on the development sets, cross-validated by subject.

Runs inside `python -m devstack exec`, which `make accuracy` does. Nothing of the sets' pictures is kept but the
vectors in --cache, which lies outside the tree.
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

from devstack.state import ROOT, say

DATA = ROOT.parent / "shared" / "data" / "dev_eval"
PAGE = ROOT / "docs" / "accuracy.md"
LISTS = {
    "LFW": ("lfw/pairs.csv", "lfw/images"),
    "CFP-FF": ("cfp/pairs_FF.csv", "cfp/images"),
    "CFP-FP": ("cfp/pairs_FP.csv", "cfp/images"),
    "London": ("london/pairs.csv", "london/images"),
}
STRESSED = ("LFW", "CFP-FF", "CFP-FP")
PARTS, STRESS_IMAGES = 5, 1000

Rate = Mapping[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, help="keep vectors here, so that a run can be resumed; delete it after")
    options = parser.parse_args()
    if not DATA.is_dir():
        say(f"The development sets are not there: {DATA.relative_to(ROOT.parent)}")
        return 1
    django.setup()
    with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
        page = "\n".join(pages(options.cache or Path(folder)))
    PAGE.write_text(page + "\n")
    say(f"Wrote {PAGE.relative_to(ROOT)}")
    return 0


def pages(cache: Path) -> Iterator[str]:
    call_command("migrate", verbosity=0)
    call_command("fetch_demo_pack", stdout=sys.stderr)
    for version in (1, 4):
        call_command("load_ensemble", str(ROOT / "config" / "ensembles" / f"v{version}.yaml"), stdout=sys.stderr)
    # every set helps to fit, each is measured by itself on the people of the part that was left out
    reports = {1: evaluate(1, cache, []), 4: evaluate(4, cache, ["all"])}
    yield HEAD.format(day=datetime.now(UTC).date(), parts=PARTS)
    for version in (4, 1):
        about = reports[version]["about"]
        yield f"\n## Version {version}: {about['name']}\n"
        yield from by_list(reports[version]["lists"])
        yield from by_cell(reports[version])
    yield "\n## Version 4 under stress, all four sets together\n"
    yield STRESS.format(images=STRESS_IMAGES)
    yield from by_stress(reports[4], None)
    for name, path in zip(LISTS, reports[4]["lists"], strict=True):
        if name in STRESSED:
            yield f"\n## Version 4 under stress, {name}\n"
            yield from by_stress(reports[4], path)
    yield TAIL.format(images=STRESS_IMAGES)


def evaluate(version: int, cache: Path, stress: list[str]) -> dict[str, Any]:
    listed = [
        f"--{what}={DATA / path}"
        for paths in LISTS.values()
        for what, path in zip(("pairs", "images"), paths, strict=True)
    ]
    options = [f"--config={version}", "--all-pairs", f"--cross-validate={PARTS}", f"--cache={cache}", "--json"]
    options += [f"--stress-images={STRESS_IMAGES}", *(f"--stress={name}" for name in stress)]
    written = io.StringIO()
    call_command("evaluate", *listed, *options, stdout=written)
    return dict(json.loads(written.getvalue()))


def by_list(lists: Mapping[str, Any]) -> Iterator[str]:
    for name, item in zip(LISTS, lists.values(), strict=True):
        yield (
            f"**{name}**: {item['subjects']} subjects, {item['images']} pictures, {item['mated']} mated and "
            f"{item['non_mated']} non-mated comparisons, FTA {percent(item['fta'])}. At the threshold: FMR "
            f"{percent(item['fmr'], 3)}, FNMR {percent(item['fnmr'])}, FAR {percent(item['far'], 3)}, FRR "
            f"{percent(item['frr'])}.\n"
        )
        yield "| | TAR at FMR 1 % | 0.1 % | EER | accuracy, listed pairs |"
        yield "| --- | --- | --- | --- | --- |"
        for system, figures in {**item["members"], "**fused**": item["fused"]}.items():
            tars = [percent(figures["tar_at_fmr"][at]) for at in ("0.01", "0.001")]
            yield f"| {system} | {' | '.join(tars)} | {percent(figures['eer'])} | {percent(figures['accuracy'])} |"
        yield "\n" + gain(item["advantage"]) + "\n"


def by_cell(result: Mapping[str, Any]) -> Iterator[str]:
    yield CELLS
    yield "| list | references × frames | mated | non-mated | FMR | FNMR |"
    yield "| --- " * 6 + "|"
    names = dict(zip(result["lists"], LISTS, strict=True))
    for cell in result["cells"]:
        under = f", {cell['under'].replace('_', ' ')}" if cell["under"] else ""
        yield (
            f"| {names[cell['list']]}{under} | {cell['references']} × {cell['frames']} | {cell['mated']} | "
            f"{cell['non_mated']} | {percent(cell['fmr'], 3)} | {percent(cell['fnmr'])} |"
        )


def by_stress(result: Mapping[str, Any], name: str | None) -> Iterator[str]:
    names = list(result["members"])
    yield f"| stress | mated | FTA | FNMR, FMR at the threshold | {' | '.join(names)} | **fused** | over the best |"
    yield "| --- " * (len(names) + 6) + "|"
    for under in result["stress"]:
        line = under["lists"].get(name) if name else under
        if line is None:  # of this list no two pictures are under one design
            continue
        tars = [percent(system["tar"], 1) for system in (*line["members"].values(), line["fused"])]
        change = line["advantage"]
        over = f"{points(change['tar'])} ({change['over'].split('_')[0]})" if change else "–"
        yield (
            f"| {under['stress'].replace('_', ' ')} | {line['mated']} | {percent(line['fta'], 1)} | "
            f"{percent(line['fused']['fnmr'], 1)}, {percent(line['fused']['fmr'])} | {' | '.join(tars)} | {over} |"
        )


def gain(change: Mapping[str, Any] | None) -> str:
    if not change:
        return "Too few comparisons to compare the fusion with a member."
    eer = change["eer"]
    ratio = f"; its EER is {eer['estimate']:.2f} ({eer['low']:.2f} – {eer['high']:.2f}) times that one's" if eer else ""
    return f"The fusion over {change['over']}, the best member here: TAR at FMR 0.1 % {points(change['tar'])}{ratio}."


def percent(rate: Rate | None, digits: int = 2) -> str:
    if rate is None:
        return "–"
    value, low, high = (f"{100 * rate[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} % ({low} – {high})"


def points(change: Rate) -> str:
    value, low, high = (f"{100 * change[name]:+.1f}" for name in ("estimate", "low", "high"))
    return f"{value} points ({low} to {high})"


HEAD = """# Accuracy, measured

Written by `make accuracy` on {day}; do not edit. The demo model pack, on LFW view 2 (folds 1–4), CFP (folds 1–2) and
the London set, from photo to decision through the service's engine. All pictures of a list against all others (frontal
against profile in CFP-FP). Cross-validated by subject: of {parts} parts each one, and each two together, are measured
with the calibration, trust and threshold fitted on the people of the other parts, of all four sets, version 4's clean
and under every stress; so every comparison counts, and its numbers know neither of its people. Intervals are 95 %, from
a bootstrap over subjects.

**The people are adults.** Figures for adults do not hold for children: before a decision about a child rests on a
version, measure it on the deployment's own kind of pictures (`manage.py evaluate`). AdaFace is **not measured**: SFace
stands in for it. The best member is the one that is best on the very comparisons, a harder rival than one chosen
beforehand."""
CELLS = """With several references of a subject and several frames of an attempt, at the threshold of the rule that
decides (blurred and covered faces, covered eyes and glasses have rules of their own):
"""
STRESS = """The second picture of each comparison is under the stress, at most {images} pictures, the first as it is;
the numbers are those of above. `references`: the first picture is under it, the second as it is; `both sides`: both
are, and show the very same covering. Columns of members and fused: TAR at FMR 0.1 %.
"""
TAIL = """
## The numbers that ship

`config/ensembles/v1.yaml` and `v4.yaml` hold numbers fitted on all of these people, clean and under every stress, by
`manage.py calibrate --config VERSION … --stress --output FILE` with the four lists above (version 4 with
`--stress-images {images}`, by `python -m devstack exec python -m devstack.refit --cache DIR`); so no figure of theirs
can be measured on these sets. What is above is measured on people left out. `v2.yaml` holds numbers of 2026-11-24 of
the same members, for probes under a stress only. Coverings that nothing was fitted under: [coverings](coverings.md)."""

if __name__ == "__main__":
    sys.exit(main())
