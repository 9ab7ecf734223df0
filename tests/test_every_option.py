"""Every option that a command ships runs once through the command itself, or is refused in a sentence.

The tables below name each option with a value that is not its default; a test compares them with what the parsers know,
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

STATES = {"probe": 16, "train": 24, "val": 12, "test": 12, "episodes": 4, "source": "uniform"}
PRIOR = {"initializer": "uniform", "gain": 1.5, "bias_scale": 0.5}
SMALL = {
    "env.name": "mycar", "env.id": "MountainCarContinuous-v0", "env.horizon": 30, "env.kwargs": {"goal_velocity": 0.01},
    "policy.name": "tiny", "policy.hidden": [5, 4], "policy.activation": "relu",
    "seed_everything": 3, "run_name": "mine", "data.batch_size": 16, "data.steps_per_epoch": 4, "data.states_per_step": 6,
    "data.val_share": 0.1, "data.test_share": 0.2, "data.split_seed": 1,
    "model.latent_dim": 2, "model.encoder_widths": [8], "model.decoder_widths": [8, 8],
    "data.random.candidates": 120, "data.random.neighbors": 3, "data.random.keep": 0.8, "data.random.seed": 2,
    "data.random.store": "params",
    **{f"data.random.prior.{key}": value for key, value in PRIOR.items()},
    **{f"data.random.states.{key}": value for key, value in STATES.items()},
    "trainer.max_steps": 8, "trainer.log_every_n_steps": 2,
}  # fmt: skip
GROWN = {
    "steps": 2500, "first": 40, "size": 60, "horizon": 15, "outcome": "fourier", "features": 8, "choice": "frontier",
    "emitter": "cmaes", "directions": 4, "population": 4, "generations": 4, "sigma": 0.2, "latent_rounds": 1,
    "latent_share": 0.6, "latent_dim": 2, "latent_steps": 3, "visited": 0.25, "own_states": 3, "neighbors": 4, "seed": 1,
    "threads": 1,
}  # fmt: skip
GROWN_PLAIN = GROWN | {f"prior.{k}": v for k, v in PRIOR.items()} | {f"states.{k}": v for k, v in STATES.items()}
MODEL = {
    "model.encoder": "parameters", "model.loss": "behavior_rms", "model.dropout": 0.1, "model.bottleneck": "variational",
    "model.kl_weight": 1e-2, "model.learning_rate": 2e-3, "model.weight_decay": 1e-3, "model.warmup_steps": 2,
}  # fmt: skip
CALLBACKS = {
    "checkpoint.every_n_epochs": 1, "checkpoint.save_last": True, "checkpoint.save_top_k": 2, "checkpoint.filename": "{step}", "checkpoint.enable_version_counter": False,
    "checkpoint.verbose": True,
    "checkpoint.save_on_exception": True, "checkpoint.auto_insert_metric_name": False,
    "checkpoint.save_weights_only": False, "checkpoint.mode": "min", "checkpoint.monitor": "val_fvu",
    "early_stopping.monitor": "val_fvu", "early_stopping.patience": 3, "early_stopping.min_delta": 1e-4,
    "early_stopping.mode": "min", "early_stopping.strict": True, "early_stopping.check_finite": True,
    "early_stopping.stopping_threshold": 1e-6, "early_stopping.divergence_threshold": 1e6, "early_stopping.verbose": True,
    "early_stopping.log_rank_zero_only": True,
    "probes.enabled": True, "probes.every": 1, "probes.policies": 20, "probes.latents": 4, "probes.neighbors": 3,
    "probes.extra": ["CorrInt"], "probes.seed": 4,
}  # fmt: skip
TRAINER = {
    "trainer.accelerator": "cpu", "trainer.devices": 1, "trainer.num_nodes": 1, "trainer.strategy": "auto",
    "trainer.precision": "bf16-mixed", "trainer.accumulate_grad_batches": 2,
    "trainer.check_val_every_n_epoch": 1, "trainer.detect_anomaly": True, "trainer.deterministic": True,
    "trainer.enable_autolog_hparams": False, "trainer.enable_checkpointing": True, "trainer.enable_model_summary": False,
    "trainer.enable_progress_bar": True, "trainer.gradient_clip_algorithm": "norm", "trainer.gradient_clip_val": 0.5,
    "trainer.inference_mode": False, "trainer.limit_predict_batches": 1, "trainer.limit_test_batches": 1.0,
    "trainer.limit_train_batches": 1.0, "trainer.limit_val_batches": 1.0, "trainer.max_epochs": 4,
    "trainer.max_time": "00:00:10:00", "trainer.min_epochs": 1, "trainer.min_steps": 2, "trainer.num_sanity_val_steps": 1,
    "trainer.profiler": "simple", "trainer.reload_dataloaders_every_n_epochs": 1, "trainer.sync_batchnorm": False,
    "trainer.val_check_interval": 2,
    "trainer.callbacks": [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}],
}  # fmt: skip
FIT = {
    "pool and network": {"decodes": "small,3-2"},
    "model": MODEL | {"trainer.benchmark": True, "trainer.max_steps": 4, "trainer.enable_model_summary": True},
    "callbacks": CALLBACKS,
    "trainer": TRAINER | {"logger": "csv"},
    "grown": {"data.recipe": "grown", **{f"data.grown.{key}": value for key, value in GROWN_PLAIN.items()}},
    "gaussian": {"policy.head": "gaussian", "policy.initial_std": 0.2, "policy.sample": True},
    "categorical": {
        "env.id": "MountainCar-v0",
        "policy.head": "categorical",
        "policy.temperature": 0.5,
    },
}
REFUSED_BY_FIT = {
    "trainer.fast_dev_run": True, "trainer.overfit_batches": 1, "trainer.barebones": True, "trainer.logger": False,
    "trainer.limit_train_batches": 3, "trainer.limit_val_batches": 0, "trainer.limit_test_batches": 0,
    "trainer.enable_checkpointing": False, "checkpoint.dirpath": "mine", "checkpoint.monitor": "train_loss",
    "checkpoint.mode": "max", "checkpoint.every_n_train_steps": 2, "checkpoint.train_time_interval": "00:00:00:01",
    "checkpoint.every_n_epochs": 2, "checkpoint.save_on_train_epoch_end": True, "early_stopping.monitor": "speed",
    "early_stopping.mode": "max", "early_stopping.check_on_train_epoch_end": True,
}  # fmt: skip
OF_FIT_ELSEWHERE = {
    "ckpt_path": "tests/jobs/test_fit.py resumes runs", "data.pool": "test_a_pool_is_collected_and_given_to_fit",
    "trainer.default_root_dir": "Lightning's own, unused: everything lies in the run folder",
    "trainer.plugins": "Lightning's own", "trainer.model_registry": "Lightning's own",
    "trainer.use_distributed_sampler": "always false: batches are drawn by this package",
    "logs": "every run here", "data.held_out": "tests/growth/test_climbs.py",
}  # fmt: skip
NO_OPTIONS = (
    "data.env",
    "data.policy",
    "data.logs",
    "data.seed",
    "data.with_params",
    "data.with_visited",
    "data.decodes",
    "model.description",
)
"""Keys of the configuration of `fit` that other options set."""
SEARCH = {
    "env": "mountaincar", "seeds": 2, "on": "local", "workers": 1, "progress": False, "task": "left", "budget": 600, "seed": 5,
    "starts": 2, "start_share": 0.5, "start_episodes": 2, "evaluate_every": 100, "evaluation_episodes": 2,
    "test_episodes": 3, "patience": 50, "checkpoint_seconds": 0.5, "episodes": 8, "answers_at": [0, 200],
    "answer_episodes": 2, "answers_by": "steps", "logger": "csv",
}  # fmt: skip
ALGORITHMS = {
    "pgpe": {
        "pgpe.population": 2, "pgpe.episodes": 2, "pgpe.sigma": 0.2, "pgpe.sigma_rate": 0.2, "pgpe.sigma_max_change": 0.3,
        "pgpe.optimizer": "clipup", "pgpe.max_speed": 0.2, "pgpe.momentum": 0.8, "behavior_step": 0.1,
        "release_decoder_at": 200,
    },
    "pgpe with Adam, widened": {
        "algorithm": "pgpe", "pgpe.population": 2, "pgpe.optimizer": "adam", "pgpe.learning_rate": 0.2, "widen": 0.5,
    },
    "parameter_pgpe": {"pgpe.population": 2},
    "cmaes": {"cmaes.population": 2, "cmaes.episodes": 2, "cmaes.sigma": 0.2},
    "bo": {"bo.policies": 3, "bo.step": 0.2},
    "random_latent": {"random_latent.population": 2, "random_latent.episodes": 2, "latents": "gaussian"},
    "gradient": {
        "gradient.policies": 2, "gradient.episodes": 2, "gradient.noise": 0.2, "gradient.discount": 0.9,
        "gradient.learning_rate": 0.2, "gradient.parameter_learning_rate": 0.02, "release_decoder_at": 200,
    },
    "ppo": {"budget": 2100}, "dqn": {"baselines.chunk": 60, "budget": 200}, "sac": {"baselines.chunk": 60, "budget": 120}, "td3": {"baselines.chunk": 60, "budget": 120},
    "ddpg": {"baselines.chunk": 60, "budget": 120},
    "td3 in weights": {
        "algorithm": "td3", "space": "weights", "replay": 0.0, "budget": 300, "off_policy.best": 3, "off_policy.random": 2,
        "off_policy.enough": 60, "off_policy.old_steps": 2, "off_policy.critic_updates": 3, "off_policy.joint_updates": 2,
        "off_policy.updates_per_step": 2, "off_policy.critics": 3, "off_policy.hidden": [8, 6], "off_policy.normalize": False,
        "off_policy.critic_rate": 1e-2, "off_policy.actor_rate": 1e-2, "off_policy.batch": 8, "off_policy.discount": 0.9,
        "off_policy.target_rate": 0.1, "off_policy.noise": 0.2, "off_policy.target_noise": 0.1,
        "off_policy.target_noise_clip": 0.3, "off_policy.tie": 0.5,
    },
    "sac in latents": {
        "algorithm": "sac", "space": "latent", "replay": 0.0, "budget": 300, "off_policy.latent_rate": 0.1,
        "off_policy.log_std": -1.0, "off_policy.temperature": 0.1,
    },
    "tqc": {"baselines.chunk": 60, "budget": 120, "hyperparameters": "zoo"}, "crossq": {"baselines.chunk": 60, "budget": 104},
}  # fmt: skip
OF_SEARCH_ELSEWHERE = {
    "checkpoint": "every run here", "logs": "every run here", "algorithm": "every run here",
    "slurm": "tests/common/executors/test_slurm.py", "pool": "test_searches_that_begin_at_a_policy",
    "start": "test_searches_that_begin_at_a_policy",
    "anchor": "test_searches_that_begin_at_a_policy", "policy": "tests/jobs/test_translate.py",
}  # fmt: skip
ENGINE = {
    "on": "local", "workers": 1, "slurm.partition": "cpu", "slurm.time": "4h", "slurm.memory": "4GB", "slurm.account": "mine",
    "slurm.qos": "low", "slurm.constraint": "avx512",
}  # fmt: skip
EVALUATE = {
    "env": "mountaincar", "policies": 8, "episodes": 2, "episode_seed": 77, "latent_seed": 3, "best": 4, "draws": 20,
    "fresh_episodes": 3, "threads": 1, "latents": "gaussian", "tasks": ["left", "standard"], "video": True, "sample": False, "logger": "csv",
}  # fmt: skip
OF_EVALUATE_ELSEWHERE = {
    "checkpoint": "every run here", "logs": "every run here", "pool": "test_options_of_evaluate",
    "elsewhere": "test_options_of_evaluate", "task": "tests/jobs/test_pool_ranking.py",
    "translate": "tests/jobs/test_translate.py", "policy": "tests/jobs/test_translate.py",
}  # fmt: skip


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
