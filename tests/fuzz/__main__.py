"""`make fuzz`: damaged pictures, and such with odd EXIF, against the decoder."""

import argparse
import os
import sys
import time

from tests.fuzz.mutations import mutated, names
from tests.fuzz.runner import Report, one, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same files")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, metavar="RUN", help="repeat one run, its error shown whole")
    options = parser.parse_args()
    if options.only is not None:
        return repeat(options.only, options.seed)

    started = time.monotonic()
    shown = 0

    def progress(report: Report) -> None:
        nonlocal shown
        if report.runs - shown >= 5000:
            shown = report.runs
            print(f"{report.runs} runs, {len(report.findings)} findings", file=sys.stderr, flush=True)

    report = run(options.runs, options.seed, options.workers, progress)
    print(f"seed {options.seed}: {report.runs} runs in {time.monotonic() - started:.0f} s")
    print(f"reached the decoder: {report.reached.total()} ({report.reached.total() / max(1, report.runs):.0%})")
    for name in names():
        print(f"  {name:28}{report.reached[name]:8} reached {report.decoded[name]:8} decoded")
    print("refused: " + ", ".join(f"{code} {count}" for code, count in sorted(report.refused.items())))
    print(f"longest run: {report.worst_s:.2f} s of the processor")
    print(f"findings: {len(report.findings)}")
    for finding in report.findings[:50]:
        print(f"  {finding}")
    return int(bool(report.findings) or report.reached.total() * 2 < report.runs)


def repeat(index: int, seed: int) -> int:
    from ml_models.engine.decode import decode
    from ml_models.engine.errors import ImageError

    report = Report()
    one(index, seed, report)
    print(report)
    try:
        decode(mutated(index, seed)[1])
    except ImageError as error:
        print(repr(error))
    return int(bool(report.findings))


if __name__ == "__main__":
    sys.exit(main())
