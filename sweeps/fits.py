"""One fit of a study: named, checked before any work, done once, resumed after an interruption, never repeated."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone
from lightning_pz.envs.presets import expand_presets, preset_names, resolve_env
from lightning_pz.jobs.fit_identity import run_difference
from sweeps.optuna_study.reading import errors_from, from_plain

if TYPE_CHECKING:
    from lightning_pz.evaluation.run import Evaluation
    from lightning_pz.jobs.fit_cli import FitCLI
    from sweeps.crew import Crew

_PLACED = ("config", "env", "env.id", "env.name", "policy", "policy.name", "logs", "run_name", "ckpt_path")
"""Settings that a study sets itself."""


class OtherRun(UserError):
    """A run folder holds a run of other settings: no trial of a study can have its place, so that the study ends."""


@dataclass(frozen=True)
class Fit:
    """A fit, defined by its settings."""

    name: str  # of its run folder
    env: str  # preset or Gymnasium id
    env_name: str  # its short name
    policy: str  # preset, or the name of a network whose widths `settings` give as `policy.hidden`
    settings: Mapping[str, Any]  # in the dotted keys of the command line
    logs: str  # folder for pools and runs

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.logs) / "fit" / self.env_name / self.name

    @property
    def checkpoint(self) -> Path:
        """The best checkpoint."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run, or None."""
        path = self.folder / "summary.json"
        try:
            return json.loads(path.read_text()) if path.is_file() else None
        except ValueError as error:
            raise UserError(f"{path} is broken ({error}): delete that folder and run the study again") from error

    def arguments(self) -> list[str]:
        """Return the settings as arguments of `fit`, without those that place the run."""
        known = self.policy in preset_names("policy")
        arguments = ["--env", self.env, "--logs", self.logs]
        arguments += ["--policy", self.policy] if known else [f"--policy.name={self.policy}"]
        return arguments + [f"--{key}={_text(value)}" for key, value in self.settings.items()]

    def check(self, source: str, metric: str | None = None) -> None:
        """Build the fit without running it, and compare it with a run of that name.

        A `UserError` names a mistake and `source`, the file of the settings; `metric` is a key that the summary must have.
        """
        from lightning_pz.jobs.fit import prepare_fit

        if self.policy not in preset_names("policy") and "policy.hidden" not in self.settings:
            raise UserError(
                f"{source}: policy {self.policy!r} is none of {', '.join(preset_names('policy'))}; a network of another "
                "shape needs its widths, such as {policy.hidden: [16, 16]}"
            )
        if key := next((key for key in self.settings if key in _PLACED), None):
            raise UserError(f"{source}: fit cannot have {key!r}, which the study sets itself: leave it out")
        seed = self.settings.get("seed_everything", 0)
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise UserError(f"{source}: seed_everything expects a whole number, but got {seed!r}")
        with errors_from(source):
            cli = prepare_fit(expand_presets("fit", self.arguments()))
            if metric is not None and metric.startswith("test_fvu_k"):
                self._check_metric(cli, metric)
        self._check_same(cli, source)

    def _check_same(self, cli: FitCLI, source: str) -> None:
        """Raise `OtherRun` if the run folder is there and holds another fit than `source` asks for."""
        if any((self.folder / name).is_file() for name in ("identity.json", "config.yaml")) and (
            difference := run_difference(self.folder, cli.identity())
        ):
            raise OtherRun(
                f"{self.folder} is a run of other settings than {source} asks for: {difference}; move that folder away, "
                "or give another --logs"
            )

    def _check_metric(self, cli: FitCLI, metric: str) -> None:
        """Raise `UserError` unless the fit measures FVU at the latent size that a metric names."""
        from lightning_pz.autoencoder.bottlenecks import make_bottleneck

        own = cli.model.hparams
        sizes = make_bottleneck(own["bottleneck"], own["latent_dim"], own["kl_weight"]).prefixes()
        if len(sizes) < 2:
            raise UserError(f"metric {metric!r} is of a nested fit, but {self.name} is not nested")
        if metric not in [f"test_fvu_k{size}" for size in sizes]:
            raise UserError(f"metric expects test_fvu_k of one of {', '.join(map(str, sizes))}, but got {metric!r}")

    def pool(self) -> Path:
        """Return the folder of the pool that it is fitted to, which need not exist."""
        from lightning_pz.jobs.fit import prepare_fit

        return Path(prepare_fit(expand_presets("fit", self.arguments())).datamodule.folder)

    def run(self, callbacks: Sequence[Any] = (), *, quiet: bool = False) -> dict[str, Any]:
        """Do the fit unless it is finished, resuming one that was interrupted, and return its summary.

        Further Lightning callbacks are called after its own; `quiet` keeps its closing table from the terminal. A run of
        that name with other settings is refused: of a search, `check` has seen the ends of the ranges alone.
        """
        from lightning_pz.jobs.fit import prepare_fit, run_fit

        # Another study may want the very same run at this moment.
        with alone(Path(self.logs) / "sweeps" / "locks" / f"{self.env_name}-{self.name}"):
            summary, arguments = self.summary, self.arguments()
            last = self.folder / "checkpoints" / "last.ckpt"
            if summary is not None or last.is_file():
                self._check_same(prepare_fit(expand_presets("fit", arguments)), "this study")
            if summary is not None:
                return summary
            if last.is_file():
                arguments += ["--ckpt_path", str(last)]
            else:
                with alone(self.folder, wait=False):  # which a fit at work holds
                    # Stopped before its first validation: there is nothing to keep.
                    shutil.rmtree(self.folder, ignore_errors=True)
                arguments += ["--run_name", self.name]
            with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
                cli = prepare_fit(expand_presets("fit", arguments))
                cli.trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
                result = run_fit(cli)
        if result is None:
            raise UserError(
                "a study does its fits in one process each: leave --trainer.devices and --trainer.num_nodes at 1"
            )
        return result.summary


def check_all(fits: Sequence[Fit], source: str, metric: str | None = None) -> None:
    """Check every fit of a study once as `Fit.check` does, and that no two with different settings share a folder."""
    known: dict[Path, Fit] = {}
    for fit in fits:
        other = known.setdefault(fit.folder, fit)
        one, two = ({"policy": each.policy, **each.settings} for each in (other, fit))
        differences = [f"{key} {one.get(key)} and {two.get(key)}" for key in one | two if one.get(key) != two.get(key)]
        if differences:
            raise UserError(
                f"{source}: two fits share the name {fit.name}, but have {', '.join(differences)}: give one of them "
                "another name"
            )
    for fit in known.values():
        fit.check(source, metric)


def pool_waves(fits: Sequence[Fit]) -> list[list[Fit]]:
    """Return fits, each once, in two lists to be done one after the other: those that make a pool, and all others.

    So no worker waits for a pool, and which of several fits makes it does not depend on a race.
    """
    makers: dict[Path, Fit] = {}
    others = []
    for fit in {fit.folder: fit for fit in fits}.values():
        pool = fit.pool().resolve()
        if pool in makers or (pool / "pool.json").is_file():
            others.append(fit)
        else:
            makers[pool] = fit
    return [list(makers.values()), others]


def run_fits(crew: Crew, fits: Sequence[tuple[Fit, Mapping[str, Any]]], tell: Callable[[Fit], object]) -> Iterator[Fit]:
    """Do fits that are not finished, and yield each when it is.

    Args:
        crew: Does them; on workers they are evaluated as well.
        fits: With settings of `evaluate`.
        tell: Called as `Crew.run` does it.
    """
    own = [fit for fit, _ in fits]
    settings = {} if crew.is_here else {fit.folder: evaluate for fit, evaluate in fits}
    for wave in [own] if crew.is_here else pool_waves(own):
        parts = [(fit, settings.get(fit.folder)) for fit in wave]
        for number, _ in crew.run(_do_fit, parts, lambda number, wave=wave: tell(wave[number])):  # type: ignore[misc]
            yield wave[number]


def _do_fit(part: tuple[Fit, Mapping[str, Any] | None]) -> None:
    fit, evaluate = part
    fit.run()
    if evaluate is not None:
        evaluate_fits([fit], evaluate)


def seeded_fits(
    run: str, env: str, policy: str, settings: Mapping[str, Any], logs: str, seeds: Sequence[int]
) -> list[Fit]:
    """Return fits `<run>-seed<seed>` in which the seed decides the training and every setting that is `{seed}`."""
    env_name, found = resolve_env(env)["env"]["name"], []
    for seed in seeds:
        own = {key: seed if value == "{seed}" else value for key, value in settings.items()} | {"seed_everything": seed}
        found.append(Fit(f"{run}-seed{seed}", env, env_name, policy, own, logs))
    return found


def evaluate_fits(fits: Sequence[Fit], settings: Mapping[str, Any]) -> list[Evaluation]:
    """Evaluate finished fits with settings of `evaluate`, or find their evaluations."""
    from lightning_pz.evaluation.groups import EvaluateConfig
    from lightning_pz.jobs.evaluate import evaluate_all

    paths = [str(fit.checkpoint) for fit in fits]
    return evaluate_all(paths, None, EvaluateConfig(**settings), None, Path(fits[0].logs))


def check_evaluate(settings: Mapping[str, Any], where: str) -> None:
    """Raise `UserError` unless these are settings of `evaluate`; `where` is the file and key that they come from."""
    from lightning_pz.evaluation.groups import EvaluateConfig

    from_plain(EvaluateConfig, settings, f"{where}: evaluate")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=10**9).split("\n...")[0].strip()
