"""The compiled catalogues that Django reads: `make translations` writes them, `make check` looks for stale ones."""

import sys
from pathlib import Path

import polib

from devstack.state import ROOT, say

LOCALE = ROOT / "ml_models" / "locale"


def main() -> int:
    write = "--write" in sys.argv[1:]
    stale = [po for po in sorted(LOCALE.glob("*/LC_MESSAGES/*.po")) if _is_stale(po, write)]
    for po in stale:
        say(f"{po.with_suffix('.mo').relative_to(ROOT)} is not what the texts say: make translations")
    return int(bool(stale))


def _is_stale(po: Path, write: bool) -> bool:
    compiled, mo = polib.pofile(str(po)).to_binary(), po.with_suffix(".mo")
    if write:
        mo.write_bytes(compiled)
    return not mo.exists() or mo.read_bytes() != compiled


if __name__ == "__main__":
    sys.exit(main())
