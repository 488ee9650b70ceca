"""Measures versions on the development sets, cross-validated by subject, and writes what comes of it: the report that
ships with it (config/ensembles/v10.report.json beside v10.yaml), and docs/accuracy.md from all reports that ship.

  make accuracy                                          every version that is fitted as it is done today
  make accuracy ARGS="config/ensembles/v10.yaml"         this one; the page keeps the others
  make accuracy ARGS="--page"                            only the page, from the reports that are there

Runs inside `python -m devstack exec`, which `make accuracy` does. Nothing of the sets' pictures is kept but the
vectors in --cache, which lies outside the tree.
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from django.core.management import call_command

from devstack.dev_eval import DATA, ENSEMBLES, LISTS, begin
from devstack.state import ROOT, say

# version 2 has numbers of an earlier way to fit, which nothing repeats any more
FITTED = [ENSEMBLES / "v1.yaml", ENSEMBLES / "v10.yaml"]
PAGE = ROOT / "docs" / "accuracy.md"
STRESSED = ("LFW", "CFP-FF", "CFP-FP")
PARTS, STRESS_IMAGES = 5, 1000
ROSTERS = (1, 10, 50, 200, 1000, 2000)
PEOPLE = "Adults: public figures on press photographs (LFW, CFP), and 40 volunteers in a studio (London)."
LACKS = [
    "Children: everybody measured is an adult, and figures for adults do not hold for children.",
    "Your cameras, your light, your distances: these are press photographs and a studio.",
    "People who took no part: whoever is in these figures helped to fit the version's numbers.",
    "Which groups of people are in the large sets: age, gender and ethnicity are known of the 40 of London only.",
]

Rate = Mapping[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="ensemble files; v1 and v10 if none")
    parser.add_argument("--cache", type=Path, help="keep vectors here, so that a run can be resumed; delete it after")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page from the reports")
    options = parser.parse_args()
    if not options.page:
        begin()
        with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
            measure(options.files or FITTED, options.cache or Path(folder))
    PAGE.write_text("\n".join(pages(shipped())) + "\n")
    say(f"Wrote {PAGE.relative_to(ROOT)}")
    return 0


def measure(files: Sequence[Path], cache: Path) -> None:
    """Write the report of each version beside its file."""
    from ml_models.studies import keeping

    for file in files:
        # the report that is there may be on numbers that the file does not have any more
        call_command("load_ensemble", str(file), "--no-report", stdout=sys.stderr)
        content = yaml.safe_load(file.read_text())
        # every set helps to fit, each is measured by itself on the people of the part that was left out;
        # a version with rules of its own for poor faces was fitted under every stress
        stress = ["all"] if content.get("conditions") else []
        report = evaluate(content["version"], cache, stress, ROSTERS if content.get("identification") else ())
        written = keeping.ship(report, LACKS, file)
        call_command("load_ensemble", str(file), stdout=sys.stderr)
        say(f"Wrote {written.name}, {written.stat().st_size:,} bytes")


def shipped() -> list[dict[str, Any]]:
    """The reports beside the ensemble files, the newest version's first."""
    reports = [json.loads(path.read_text()) for path in ENSEMBLES.glob("*.report.json")]
    return sorted(reports, key=lambda report: -report["config"])


def pages(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """docs/accuracy.md, line by line."""
    yield HEAD.format(parts=PARTS)
    for report in reports:
        yield f"\n## Version {report['config']}: {report['about']['name']}\n"
        yield from (f"{sentence}\n" for sentence in report["groups"]["says"])
        yield from by_list(report["lists"])
        yield from by_cell(report)
        yield from by_roster(report)
    for report in reports:
        if report["stress"]:
            yield from under_stress(report)
    yield TAIL.format(images=STRESS_IMAGES)


def under_stress(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## Version {report['config']} under stress, all sets together\n"
    yield STRESS.format(images=STRESS_IMAGES)
    yield from by_stress(report, None)
    for name, path in zip(LISTS, report["lists"], strict=True):
        if name in STRESSED:
            yield f"\n## Version {report['config']} under stress, {name}\n"
            yield from by_stress(report, path)


def evaluate(version: int, cache: Path, stress: list[str], rosters: Sequence[int] = ()) -> dict[str, Any]:
    options = [f"--config={version}", "--all-pairs", f"--cross-validate={PARTS}", f"--cache={cache}", "--json"]
    for pairs, images, attributes in LISTS.values():
        table = DATA / attributes if attributes else "-"
        options += [f"--pairs={DATA / pairs}", f"--images={DATA / images}", f"--attributes={table}"]
    options += [f"--about={PEOPLE}", f"--stress-images={STRESS_IMAGES}", *(f"--stress={name}" for name in stress)]
    if rosters:
        options += ["--identify", *map(str, rosters)]
    written = io.StringIO()
    call_command("evaluate", *options, stdout=written)
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


def by_roster(result: Mapping[str, Any]) -> Iterator[str]:
    rows = result.get("identification")
    if not rows:
        return
    yield IDENTIFIED
    yield "| list | candidates | strangers' searches | FPIR | members' searches | FNIR | misidentified |"
    yield "| --- " * 7 + "|"
    names = dict(zip(result["lists"], LISTS, strict=True))
    for row in rows:
        beyond = ", extrapolated" if row["extrapolated"] else ""
        yield (
            f"| {names[row['list']]} | {row['candidates']}{beyond} | {row['strangers']} | {percent(row['fpir'], 3)} | "
            f"{row['members']} | {percent(row['fnir'])} | {percent(row['misidentified'], 3)} |"
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

Written by `make accuracy` from the reports that ship (`config/ensembles/*.report.json`); do not edit. The demo model
pack, on LFW view 2 (folds 1–4), CFP (folds 1–2) and the London set, from photo to decision through the service's
engine. All pictures of a list against all others (frontal against profile in CFP-FP). Cross-validated by subject: of
{parts} parts each one, and each two together, are measured with the calibration, trust and threshold fitted on the
people of the other parts, of all four sets; a version with rules for poor faces clean and under every stress. So every
comparison counts, and its numbers know neither of its people. Intervals are 95 %, from a bootstrap over subjects.

**The people are adults.** Figures for adults do not hold for children: before a decision about a child rests on a
version, measure it on the deployment's own kind of pictures (`manage.py evaluate`). AdaFace is **not measured**: SFace
stands in for it. The best member is the one that is best on the very comparisons, a harder rival than one chosen
beforehand."""
CELLS = """With several references of a subject and several frames of an attempt, at the threshold of the rule that
decides (blurred and covered faces and covered eyes have rules of their own; glasses raise the thresholds):
"""
IDENTIFIED = """
Identification on rosters at random, one reference and one frame, cross-fitted: neither the scores nor the thresholds
for rosters know the searcher. FPIR: a stranger's search in which a candidate reaches the threshold. FNIR: a member's
search that does not name the member; `misidentified` is the part of it in which somebody else reaches the threshold.
Extrapolated: as if there were more people like the list's.
"""
STRESS = """The second picture of each comparison is under the stress, at most {images} pictures, the first as it is;
the numbers are those of above. `references`: the first picture is under it, the second as it is; `both sides`: both
are, and show the very same covering. Columns of members and fused: TAR at FMR 0.1 %.
"""
TAIL = """
## The numbers that ship

`config/ensembles/*.yaml` hold numbers fitted on all of these people, by `manage.py calibrate --config VERSION …
--output FILE` with the four lists above (with `--stress --stress-images {images}` where a version has rules for poor
faces; version 4's, which 5 keeps, 6's and 7's, which 8 keeps, by
`python -m devstack exec python -m devstack.refit --cache DIR`).
So no figure of theirs can be measured on these sets. What is above is measured on people left out, ships beside the
version as `vN.report.json`, and is shown where the version is; the gate before production does not count it. `v2.yaml`
holds numbers of 2026-11-24 of version 4's members, for probes under a stress only. Coverings that nothing was fitted
under: [coverings](coverings.md)."""

if __name__ == "__main__":
    sys.exit(main())
