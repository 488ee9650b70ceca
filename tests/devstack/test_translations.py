"""Compiled catalogues that are not what the texts say."""

import ast
import re
import shutil
from pathlib import Path

import polib
import pytest

from devstack import translations


def test_a_changed_text_is_told_until_it_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*options: str) -> int:
        monkeypatch.setattr("sys.argv", ["translations", *options])
        return translations.main()

    assert check() == 0
    shutil.copytree(translations.LOCALE, tmp_path / "locale")
    monkeypatch.setattr(translations, "LOCALE", tmp_path / "locale")
    monkeypatch.setattr(translations, "ROOT", tmp_path)
    german = tmp_path / "locale" / "de" / "LC_MESSAGES" / "django.po"
    german.write_text(german.read_text().replace("zu dunkel", "viel zu dunkel"))
    assert check() == 1
    assert check("--write") == 0
    assert check() == 0
    german.with_suffix(".mo").unlink()
    assert check() == 1


def messages() -> set[str]:
    """Every text of the sources that is marked for translation."""
    app = translations.LOCALE.parent
    marked = {
        node.args[0].value
        for path in app.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("_", "gettext", "gettext_noop", "gettext_lazy")
        and isinstance(node.args[0], ast.Constant)
    }
    pages = "".join(path.read_text() for path in app.rglob("*.html"))
    assert "blocktranslate" not in pages
    return {str(text) for text in marked} | set(re.findall(r'{%\s*translate\s+"([^"]+)"', pages))


@pytest.mark.parametrize(
    "catalogue", sorted(translations.LOCALE.glob("*/LC_MESSAGES/django.po")), ids=lambda path: path.parts[-3]
)
def test_every_text_is_translated_and_none_is_left_over(catalogue: Path) -> None:
    entries = polib.pofile(str(catalogue))
    assert {entry.msgid for entry in entries if not entry.obsolete} == messages()
    assert [entry.msgid for entry in entries if not entry.translated() or entry.fuzzy or entry.obsolete] == []
    # a name in braces or a percent sign is filled in, in whatever language
    filled = re.compile(r"{\w*}|%\(\w+\)s|%[sd]")
    wrong = [e.msgid for e in entries if sorted(filled.findall(e.msgid)) != sorted(filled.findall(e.msgstr))]
    assert wrong == []
