"""The pages as a site, and whether their links lead anywhere.

python -m devstack.site            lay the pages out in build/docs, for `make docs`
python -m devstack.site --check    say which links lead nowhere; part of `make check`

The folders are as in the repository, so that links between pages stay as they are. A file that a page links to is laid
beside the pages; a link to a folder of code is shown as text.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from devstack.state import ROOT, say

TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
_CODE = re.compile(r"^(```+|~~~+).*?^\1[^\S\n]*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^(```+).*?^\1$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
_OUTSIDE = ("http://", "https://", "mailto:")


def main(arguments: list[str]) -> int:
    if arguments != ["--check"]:
        lay_out(ROOT, ROOT / "build" / "docs")
        return 0
    wrong = broken(ROOT)
    for line in wrong:
        say(f"✗ {line}")
    return int(bool(wrong))


def pages(root: Path) -> list[Path]:
    return [*(root / name for name in TOP), *sorted((root / "docs").rglob("*.md"))]


def broken(root: Path) -> list[str]:
    """A line for each link to a file that is not there, or to a heading that its page does not have."""
    return [
        f"{page.relative_to(root)}: {target}"
        for page in pages(root)
        for target in _targets(page)
        if not _leads_somewhere(page, target)
    ]


def lay_out(root: Path, folder: Path) -> None:
    """Copy the pages, and the files that they link to, into an empty folder; README.md becomes its first page."""
    shutil.rmtree(folder, ignore_errors=True)
    for page in pages(root):
        text = _LINK.sub(partial(_without_folder, page), page.read_text())
        to = folder / page.relative_to(root)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text.replace("](../README.md", "](../index.md") if page.name != "README.md" else text)
        for target in _targets(page):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.is_file() and file.suffix != ".md":
                beside = folder / file.relative_to(root)
                beside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, beside)
    (folder / "README.md").rename(folder / "index.md")


def _targets(page: Path) -> Iterator[str]:
    """The links of a page that lead to files or headings of this repository; what looks like one in code is none."""
    for _, target in _LINK.findall(_CODE.sub("", page.read_text())):
        if not target.startswith(_OUTSIDE):
            yield target


def _leads_somewhere(page: Path, target: str) -> bool:
    path, _, heading = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not heading or file.suffix != ".md" or heading in _headings(file))


def _headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them; of equal ones the first."""
    lines = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", _LINK.sub(r"\1", line).lower()).replace(" ", "-") for line in lines}


def _without_folder(page: Path, link: re.Match[str]) -> str:
    return link[1] if (page.parent / link[2]).is_dir() else link[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
