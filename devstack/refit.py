"""The file of the version that goes live first, fitted anew on the development sets, clean and under every stress.

    python -m devstack exec python -m devstack.refit --cache DIR

The same pictures and code give the same file. --cache keeps the vectors, which are biometric, outside the tree: delete
it after.
"""

import argparse
import sys
from pathlib import Path

from django.core.management import call_command

from devstack.accuracy import STRESS_IMAGES
from devstack.dev_eval import DATA, ENSEMBLES, LISTS, load
from devstack.prepare import FIRST_ACTIVE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    load(FIRST_ACTIVE)
    file = ENSEMBLES / f"v{FIRST_ACTIVE}.yaml"
    listed = [
        option
        for pairs, images, _ in LISTS.values()
        for option in (f"--pairs={DATA / pairs}", f"--images={DATA / images}")
    ]
    stress = ["--stress=all", f"--stress-images={STRESS_IMAGES}"]
    call_command(
        "calibrate",
        f"--config={FIRST_ACTIVE}",
        *listed,
        *stress,
        f"--cache={options.cache}",
        f"--output={file}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
