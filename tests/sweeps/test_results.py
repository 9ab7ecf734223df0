"""Results pages are what their tables and templates say."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.tables import Table
from sweeps.__main__ import main
from sweeps.results.pages import ABOUT, FOLDER, PageTable, render

HEAD = dict.fromkeys(ABOUT, "x") | {"command": "python -m a; python -m b", "interval": "none"}


def test_the_pages_are_what_the_command_renders(capsys: pytest.CaptureFixture[str]) -> None:
    pages = render()
    assert pages and all(path.read_text() == text for path, text in pages.items())
    main(["results"])
    assert capsys.readouterr().out.count("unchanged") == len(pages)


@pytest.mark.parametrize("path", sorted((FOLDER / "tables").glob("*.csv")), ids=lambda path: path.stem)
def test_tables_are_read_and_written_alike(path: Path) -> None:
    assert PageTable.read(path).file_text() == path.read_text()


def test_intervals_ranges_thousands_and_the_highest() -> None:
    header = ["task", "one", "one_low", "one_high", "two", "two_from", "two_to"]
    rows = [["a", "1234.5", "-2000", "3", "0.50", "0.1", "0.9"], ["b", "none", "", "", "7", "", ""]]
    lines = PageTable(HEAD | {"bold": "max"}, Table(header, rows)).markdown().splitlines()
    assert lines[0] == "| task | one | two |"
    assert lines[2] == "| a | **1,234.5** [-2,000, 3] | 0.50 (0.1 to 0.9) |"
    assert lines[3] == "| b | none | **7** |"
    assert lines[5].startswith("*`python -m a` `python -m b`; seeds: x")


def test_broken_tables_and_idle_ones_are_refused(tmp_path: Path) -> None:
    for name in ("tables", "templates"):
        (tmp_path / name).mkdir()
    template, path = tmp_path / "templates" / "page.md", tmp_path / "tables" / "one.csv"
    template.write_text("{{ table one }}\n")
    with pytest.raises(UserError, match=r"one\.csv, but there is no such file"):
        render(tmp_path)
    text = PageTable(HEAD, Table(["x"], [["1"]])).file_text()
    path.write_text("# command: a\nx\n1\n")
    with pytest.raises(UserError, match="expects the lines command, made"):
        render(tmp_path)
    path.write_text(text + "1,2\n")
    with pytest.raises(UserError, match="line 9: expected 1 cells, but got 2"):
        render(tmp_path)
    path.write_text(text)
    assert "| 1 |" in render(tmp_path)[tmp_path / "page.md"]
    template.write_text("{{ list one }}\n")
    assert render(tmp_path)[tmp_path / "page.md"].endswith("\n\n* 1\n")
    template.write_text("no table\n")
    with pytest.raises(UserError, match="holds one, but no template"):
        render(tmp_path)
