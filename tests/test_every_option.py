"""Every option that a command ships runs once through the command itself, or is refused in a sentence.

The tables of `option_tables` name each option with a value that is not its default; a test compares them with what the parsers know,
so that an option without a run cannot be added. `compress` and the studies have tables of their own beside their tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from jsonargparse import ArgumentParser

from lightning_pz import collect, evaluate, finetune, fit, report
from lightning_pz.common.errors import UserError
from tests.option_tables import (
    ALGORITHMS,
    ENGINE,
    EVALUATE,
    FIT,
    GROWN_PLAIN,
    NO_OPTIONS,
    OF_EVALUATE_ELSEWHERE,
    OF_FIT_ELSEWHERE,
    OF_SEARCH_ELSEWHERE,
    PRIOR,
    REFUSED_BY_FIT,
    SEARCH,
    SMALL,
    STATES,
)


class Parser(Exception):
    """Carries a command's parser out of it."""


def options_of(main: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the dotted names of all options of a command, `config` apart."""
    found: list[ArgumentParser] = []

    def stop(self: ArgumentParser, *_: Any, **__: Any) -> None:
        found.append(self)
        raise Parser

    with monkeypatch.context() as patch:
        patch.setattr(ArgumentParser, "parse_args", stop)
        with pytest.raises(Parser):
            main(arguments)
    return set(found[0].get_defaults().keys()) - {"config", "__default_config__"}


def missing(known: Iterable[str], *tables: Iterable[str]) -> list[str]:
    """Return the known options that no table names, nor anything above or below them."""
    named = {option for table in tables for option in table}
    return sorted(
        key for key in known if not any(f"{key}.".startswith(f"{o}.") or f"{o}.".startswith(f"{key}.") for o in named)
    )


def words(options: dict[str, Any]) -> list[str]:
    """Return options as words of a command line."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in options.items()]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Fit a pool whose episodes have 30 steps; returns its `FitResult`."""
    return fit.main(words({"logs": str(tmp_path_factory.mktemp("short"))} | SMALL))


@pytest.fixture(scope="module")
def choosing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Fit the same kind of pool where actions are chosen; returns its `FitResult`."""
    return fit.main(words({"logs": str(tmp_path_factory.mktemp("choosing"))} | SMALL | {"env.id": "MountainCar-v0"}))


@pytest.mark.slow
@pytest.mark.parametrize("name", FIT)
def test_options_of_fit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = fit.main(words({"logs": str(tmp_path)} | SMALL | FIT[name]))
    assert result is not None and result.folder == tmp_path / "fit" / "mycar" / "mine"
    config = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert config["policy"]["hidden"] == [5, 4] and result.summary["seed"] == 3
    assert np.isfinite(json.loads((result.folder / "summary.json").read_text())["test_fvu"])


def test_no_option_of_fit_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    known = {key for key in options_of(fit.main, ["--env=mountaincar"], monkeypatch) if not key.startswith(NO_OPTIONS)}
    assert missing(known, SMALL, *FIT.values(), OF_FIT_ELSEWHERE, REFUSED_BY_FIT) == []


@pytest.mark.parametrize("name", REFUSED_BY_FIT)
def test_options_that_a_fit_refuses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"--{name} expects"):
        fit.main(words(SMALL | {name: REFUSED_BY_FIT[name]}))
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["random", "grown"])
def test_a_pool_is_collected_and_given_to_fit(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prefix = f"data.{recipe}."
    table = SMALL if recipe == "random" else {f"data.grown.{key}": value for key, value in GROWN_PLAIN.items()}
    own = {key.removeprefix(prefix): value for key, value in table.items() if key.startswith(prefix)}
    shared = {key: value for key, value in SMALL.items() if key.startswith(("env.", "policy."))} | FIT["gaussian"]
    options = {"recipe": recipe, "pool": "mypool", "logs": "mine", "policy.temperature": 0.2} | shared | own | ENGINE
    options |= {"logger": "csv"} if recipe == "grown" else {}
    known = options_of(collect.main, words({"recipe": recipe, "env.id": "MountainCarContinuous-v0"}), monkeypatch)
    assert missing(known, options) == []
    collect.main(words(options))
    data = {key: value for key, value in SMALL.items() if not key.startswith("data.random.")} | FIT["gaussian"]
    result = fit.main(words(data | {"data.pool": "mypool", "data.recipe": recipe}))
    assert result is not None and result.summary["pool"] == "mypool"


def test_options_of_a_pool_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", solution=np.random.default_rng(0).standard_normal((60, 38)))  # 2 x 5 + 5 x 4 + 4 x 2
    shared = {key: value for key, value in SMALL.items() if key.startswith(("env.", "policy."))} | FIT["gaussian"]
    own = {"archive": "mine.npz", "biases": False, "neighbors": 4, "seed": 1}
    own |= {f"prior.{k}": v for k, v in PRIOR.items()} | {f"states.{k}": v for k, v in STATES.items()}
    options = {"recipe": "archive", "pool": "mypool", "logs": "mine", "policy.temperature": 0.2} | shared | own
    known = options_of(collect.main, words({"recipe": "archive", "env.id": "MountainCarContinuous-v0"}), monkeypatch)
    assert missing(known, options) == []
    collect.main(words(options))
    assert json.loads(Path("mypool", "pool.json").read_text())["candidates"] == 60


def test_options_of_evaluate(short: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = options_of(evaluate.main, [f"--checkpoint={short.summary['checkpoint']}"], monkeypatch)
    assert missing(known, EVALUATE, OF_EVALUATE_ELSEWHERE) == []
    place = {"checkpoint": short.summary["checkpoint"], "logs": str(tmp_path)}
    evaluate.main(words(place | EVALUATE | {"pool": short.summary["pool"]}))
    (summary,) = (tmp_path / "evaluate").rglob("summary.json")
    kept = json.loads(summary.read_text())
    assert kept["episodes"] == 2 and kept["policies"] == 8 and "left/recovery_best" in kept
    evaluate.main([*words(place), "--elsewhere", short.summary["pool"]])


def test_no_option_of_finetune_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    known = options_of(finetune.main, ["--checkpoint=x.ckpt"], monkeypatch)
    assert missing(known, SEARCH, *ALGORITHMS.values(), OF_SEARCH_ELSEWHERE) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_options_of_finetune(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    fitted = request.getfixturevalue("choosing" if name == "dqn" else "short")
    place = {"checkpoint": fitted.summary["checkpoint"], "logs": str(tmp_path), "algorithm": name}
    task = {"env": "MountainCar-v0", "task": "standard"} if name == "dqn" else {}
    finetune.main(words(place | SEARCH | task | ALGORITHMS[name]))
    kept = [json.loads(path.read_text()) for path in (tmp_path / "finetune").rglob("summary.json")]
    assert sorted(run["seed"] for run in kept) == [5, 6]
    assert all(
        0 < run["env_steps"] <= (SEARCH | ALGORITHMS[name])["budget"] and np.isfinite(run[f"{run['task']}/return"])
        for run in kept
    )


def test_options_of_report(short: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"checkpoint": short.summary["checkpoint"], "logs": str(tmp_path)}
    finetune.main(words(place | SEARCH | ALGORITHMS["random_latent"] | {"algorithm": "random_latent"}))
    evaluate.main(words(place | EVALUATE | {"video": False}))
    (evaluation,) = (tmp_path / "evaluate").rglob("summary.json")
    options = {"out": str(tmp_path / "out"), "draws": 100, "seed": 1, "at": [200, 400]}
    known = options_of(report.main, [str(tmp_path)], monkeypatch)
    assert missing(known, options, ["folders", "evaluation"]) == []
    report.main([str(tmp_path / "finetune"), *words(options), "--evaluation", str(evaluation)])
    assert "| 400 |" in (tmp_path / "out" / "report.md").read_text()
