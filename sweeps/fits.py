"""One fit of a study: named, checked before any work, done once, gone on with after an interruption, never repeated."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.common.files import alone
from lightning_pz.errors import UserError
from lightning_pz.presets import expand_presets, preset_names

VOLATILE = (
    "logs", "run_name", "ckpt_path", "checkpoint.dirpath", "trainer.enable_progress_bar", "trainer.accelerator",
    "data.grown.threads",
)  # fmt: skip
"""Settings that do not tell one run from another."""


@dataclass(frozen=True)
class Fit:
    """A fit, told by its settings.

    Attributes:
        name: Of its run folder.
        env: Preset or Gymnasium id.
        env_name: Its short name.
        policy: Policy preset, or the name of a network whose widths `settings` give as `policy.hidden`.
        settings: In the dotted keys of the command line.
        logs: Folder for pools and runs.
    """

    name: str
    env: str
    env_name: str
    policy: str
    settings: Mapping[str, Any]
    logs: str

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
        return json.loads(path.read_text()) if path.is_file() else None

    def arguments(self) -> list[str]:
        """Return the settings as arguments of `fit`, without those that place the run."""
        known = self.policy in preset_names("policy")
        arguments = ["--env", self.env, "--logs", self.logs]
        arguments += ["--policy", self.policy] if known else [f"--policy.name={self.policy}"]
        return arguments + [f"--{key}={_text(value)}" for key, value in self.settings.items()]

    def check(self, source: str) -> None:
        """Pass the settings through the very build of `fit`, and compare them with a run of that name.

        Args:
            source: File that the settings come from, for the message.

        Raises:
            UserError: A mistyped key, a value out of range, or a run of this name with other settings.
        """
        found = self._config()
        if self.policy not in preset_names("policy") and "policy.hidden" not in self.settings:
            raise UserError(
                f"{source}: policy {self.policy!r} is none of {', '.join(preset_names('policy'))}; a network of another "
                "shape needs its widths, such as {policy.hidden: [16, 16]}"
            )
        asked = _flat(self._parse(source))
        for key, expected in asked.items():
            if found and key in found and key not in VOLATILE and found[key] != expected:
                raise UserError(
                    f"{self.folder} is a run with {key} = {found[key]}, but the grid asks for {expected}: move that folder "
                    "away, or give another --logs"
                )

    def run(self, callbacks: Sequence[Any] = (), *, quiet: bool = False) -> dict[str, Any]:
        """Do the fit unless it is finished, and return its summary; go on with one that was interrupted.

        Args:
            callbacks: Further Lightning callbacks, called after its own.
            quiet: Keep the closing table of a fit from the terminal.

        Raises:
            UserError: It cannot be done.
            KeyboardInterrupt: As it came; the last checkpoint stays.
        """
        from lightning_pz.training import build, train

        # Another study may want the very same run at this moment.
        with alone(Path(self.logs) / "sweeps" / "locks" / f"{self.env_name}-{self.name}"):
            if (summary := self.summary) is not None:
                return summary
            last, arguments = self.folder / "checkpoints" / "last.ckpt", self.arguments()
            if last.is_file():
                arguments += ["--ckpt_path", str(last)]
            else:
                shutil.rmtree(self.folder, ignore_errors=True)  # stopped before its first validation: nothing to keep
                arguments += ["--run_name", self.name]
            with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
                cli = build(expand_presets("fit", arguments))
                cli.trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
                result = train(cli)
        if result is None:
            raise UserError(
                "a study does its fits in one process each: leave --trainer.devices and --trainer.num_nodes at 1"
            )
        return result.summary

    def _config(self) -> dict[str, Any]:
        """Return the flat settings of the run that lies in the folder; empty if there is none."""
        path = self.folder / "config.yaml"
        return _flat(yaml.safe_load(path.read_text())) if path.is_file() else {}

    def _parse(self, source: str) -> dict[str, Any]:
        from lightning_pz.training import build

        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                cli = build(expand_presets("fit", self.arguments()))
        except SystemExit as stop:
            words = " ".join(said.getvalue().split("error: ")[-1].split())
            raise UserError(f"{source}: {words or 'fit refuses these settings'}") from stop
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        return yaml.safe_load(cli.parser.dump(cli.config, skip_none=False))


def seeded(run: str, env: str, env_name: str, policy: str, settings: Mapping[str, Any], logs: str, seed: int) -> Fit:
    """Return a fit of which the seed makes all, its training and whatever else in the settings is `{seed}`.

    Args:
        run: Name of its run folder, but for the seed at the end.
        env: Preset or Gymnasium id.
        env_name: Its short name.
        policy: Policy preset.
        settings: In the dotted keys of the command line.
        logs: Folder for pools and runs.
        seed: The seed.
    """
    own = {key: seed if value == "{seed}" else value for key, value in settings.items()}
    return Fit(f"{run}-seed{seed}", env, env_name, policy, {**own, "seed_everything": seed}, logs)


def _text(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True, width=10**9).split("\n...")[0].strip()
    )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings under their dotted keys."""
    return dict(_leaves("", settings))


def _leaves(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value
