"""Compiled catalogues that are not what the texts say."""

import shutil
from pathlib import Path

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
