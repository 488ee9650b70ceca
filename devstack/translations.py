"""The compiled catalogues that Django reads: `make translations` writes them, `make check` looks for stale ones."""

import sys
from pathlib import Path

import polib

from devstack.state import ROOT, say

LOCALE = ROOT / "ml_models" / "locale"


def main() -> int:
    stale = [po for po in sorted(LOCALE.glob("*/LC_MESSAGES/*.po")) if _is_stale(po)]
    if "--write" in sys.argv[1:]:
        for po in stale:
            po.with_suffix(".mo").write_bytes(_compiled(po))
        return 0
    for po in stale:
        say(f"{po.with_suffix('.mo').relative_to(ROOT)} is not what the texts say: make translations")
    return int(bool(stale))


def _is_stale(po: Path) -> bool:
    mo = po.with_suffix(".mo")
    return not mo.exists() or mo.read_bytes() != _compiled(po)


def _compiled(po: Path) -> bytes:
    return bytes(polib.pofile(str(po)).to_binary())


if __name__ == "__main__":
    sys.exit(main())
