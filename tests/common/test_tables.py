"""One table as Markdown, CSV and console text."""

import csv
import io
import math

import pytest

from lightning_pz.common.statistics import NONE, RANGE, STUDENT, Estimate
from lightning_pz.common.tables import Table, estimate_text

TABLE = Table(
    ["task", "runs", "area", "x"],
    [["a|b", 3, Estimate(0.5, 0.4, 0.6, STUDENT), 1234.5678], ["c", 4, None, math.nan]],
    {"area": ".3f"},
)


def test_markdown_rounds_and_escapes():
    header, _, first, second = TABLE.markdown().splitlines()
    assert header == "| task | runs | area | x |"
    assert first == r"| a\|b | 3 | 0.500 [0.400, 0.600] | 1235 |" and second == "| c | 4 |  | none |"


def test_csv_keeps_all_digits_and_opens_estimates():
    first, second = csv.DictReader(io.StringIO(TABLE.csv()))
    assert list(first) == ["task", "runs", "area", "area_low", "area_high", "area_interval", "x"]
    assert (first["task"], first["area_low"], first["area_interval"], first["x"]) == (
        "a|b",
        "0.4",
        "student",
        "1234.5678",
    )
    assert (second["area"], second["area_interval"], second["x"]) == ("", "", "")
    assert TABLE.only(["x", "task"]).csv() == "x,task\n1234.5678,a|b\n,c\n"


def test_console_lines_fit_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    long = Table(["name", "task", "value"], [["n" * 20 + "1", "t" * 50, "1.25"], ["short", "t", "12"]])
    lines = long.console(names=2).splitlines()
    assert max(map(len, lines)) <= 60 and lines[2].endswith("  1.25") and "…" in lines[2]
    assert lines[2].startswith("  nnn") and "n1  ttt" in lines[2]
    assert Table([], [["a", "b"], ["long", "c"]]).console() == "  a     b\n  long  c"


def test_columns_that_do_not_fit_beside_legible_names_follow_below(monkeypatch):
    monkeypatch.setenv("COLUMNS", "68")
    table = Table(["", *"abcd"], [["return after encode-decode", *("12.5 [10.0, 15.0]" for _ in range(4))]])
    lines = table.console(whole=True).splitlines()
    assert max(map(len, lines)) <= 68 and [line.split()[0] for line in lines[::4]] == ["a", "c"]
    assert lines[2] == lines[6] and lines[2].startswith("  return after encode-decode  12.5")
    monkeypatch.setenv("COLUMNS", "90")
    assert len(table.console().splitlines()) == 3 and "…" in table.console()
    monkeypatch.setenv("COLUMNS", "200")
    assert len(table.console().splitlines()) == 3


@pytest.mark.parametrize(
    ("found", "form", "text"),
    [
        (Estimate(98.154, 97.6, 100.25, STUDENT), "", "98.2 [97.6, 100.2]"),
        (Estimate(-0.001, math.nan, math.nan, NONE), "", "0.00"),
        (Estimate(12345.6, math.nan, math.nan, NONE), "", "12,346"),
        (Estimate(0.5, 0.25, 0.75, RANGE), ".3f", "0.500 (0.250 to 0.750)"),
        (Estimate(math.nan, math.nan, math.nan, NONE), "", "none"),
    ],
)
def test_an_estimate_shows_the_ends_that_it_has(found, form, text):
    assert estimate_text(found, form) == text
