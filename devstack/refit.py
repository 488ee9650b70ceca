"""config/ensembles/v4.yaml, fitted anew on the development sets, clean and under every stress.

    python -m devstack exec python -m devstack.refit --cache DIR

The same pictures and code give the same file. --cache keeps the vectors, which are biometric, outside the tree: delete
it after.
"""

import argparse
import sys
from pathlib import Path

import django
from django.core.management import call_command

from devstack.accuracy import DATA, LISTS, STRESS_IMAGES
from devstack.prepare import FIRST_ACTIVE
from devstack.state import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    django.setup()
    file = str(ROOT / "config" / "ensembles" / f"v{FIRST_ACTIVE}.yaml")
    call_command("migrate", verbosity=0)
    call_command("fetch_demo_pack", stdout=sys.stderr)
    call_command("load_ensemble", file, stdout=sys.stderr)
    listed = [
        f"--{what}={DATA / path}"
        for paths in LISTS.values()
        for what, path in zip(("pairs", "images"), paths, strict=True)
    ]
    stress = ["--stress=all", f"--stress-images={STRESS_IMAGES}"]
    call_command(
        "calibrate", f"--config={FIRST_ACTIVE}", *listed, *stress, f"--cache={options.cache}", f"--output={file}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
