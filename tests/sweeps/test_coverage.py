"""The coverage study leaves a table in which ours holds more often than the percentile bootstrap, and refuses bad numbers."""

import csv

import pytest

from lightning_pz.common.errors import UserError
from sweeps.__main__ import main


@pytest.mark.slow
def test_the_command_leaves_its_tables(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sweeps.coverage._DRAWS", 60)
    main(["coverage", "--trials", "100", "--seed", "1", "--logs", str(tmp_path)])
    folder = tmp_path / "sweeps" / "coverage"
    assert capsys.readouterr().out.strip().splitlines()[-1] == str(folder)
    with (folder / "table.csv").open() as file:
        rows = {(row["statistic"], row["runs"]): row for row in csv.DictReader(file)}
    five = rows["mean", "5"]
    assert five["shown"] == "interval" and rows["mean", "3"]["shown"] == "range"
    assert float(five["normal"]) > 0.88 and float(five["normal"]) > float(five["normal_bootstrap"])
    assert (folder / "table.md").read_text().count("\n| ") == len(rows) + 1


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--trials", "99"], "--trials expects at least 100, but got 99"),
        (["--trials", "many"], "--trials expects a whole number, but got 'many'"),
        (["--env", "hopper"], "there is no option --env"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        main(["coverage", *arguments])
