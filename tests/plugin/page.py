"""docs/plug-in.md as a script: its blocks of `sh` are run, its blocks with a file name are added to that file."""

import re
from dataclasses import dataclass

from tests.support.served import ROOT

_FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    file: str | None
    text: str

    def script(self) -> str:
        """What a shell does with it in the project's folder."""
        if self.file is None:
            return self.text
        return f"cat >> {self.file} <<'END_OF_BLOCK'\n{self.text}END_OF_BLOCK\n"


def blocks() -> list[Block]:
    """All of the page's, in its order."""
    page = (ROOT / "docs" / "plug-in.md").read_text()
    return [Block(language, file or None, text) for language, file, text in _FENCE.findall(page)]
