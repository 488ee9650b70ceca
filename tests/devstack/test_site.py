"""The pages' links, and their site's layout."""

from pathlib import Path

from devstack import site
from devstack.state import ROOT


def test_every_link_leads_somewhere() -> None:
    assert site.broken(ROOT) == []


def test_what_leads_nowhere_is_named_and_what_is_code_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in site.TOP:
        (tmp_path / name).write_text(f"# {name}\n")
    (tmp_path / "docs" / "page.md").write_text(
        "# A page, with `code`\n\n[here](#a-page-with-code) [up](../README.md) [web](https://example.org/x)\n"
        "[gone](gone.md) [no heading](#gone) [theirs](../README.md#gone)\n"
        "`[code](code.md)`\n```md\n[block](block.md)\n# a comment\n```\n[not a heading](#a-comment)\n"
    )
    named = ["gone.md", "#gone", "../README.md#gone", "#a-comment"]
    assert site.broken(tmp_path) == [f"docs/page.md: {target}" for target in named]


def test_the_layout_has_the_pages_and_the_files_that_they_link_to(tmp_path: Path) -> None:
    site.lay_out(ROOT, tmp_path / "site")
    laid = tmp_path / "site"
    assert "(docs/operations.md)" in (laid / "index.md").read_text()
    assert (laid / "config" / "env.example").read_bytes() == (ROOT / "config" / "env.example").read_bytes()
    assert "](../config/kubernetes)" not in (laid / "docs" / "operations.md").read_text()
