"""From a command line to settings: shipped files, environments, extras. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.envs.presets import (
    EnvConfig,
    conf_dir,
    given_configs,
    load_preset,
    merge,
    preset_names,
    short_name,
    take_option,
)


@dataclass(frozen=True)
class RunSettings:
    """Where a run goes.

    Args:
        logs: Folder for runs.
        progress: Whether to draw a progress bar; on a terminal only if null.
    """

    logs: str = "logs"
    progress: bool | None = None


def compress_presets() -> list[str]:
    """Return the names of the environments that have settings for compression."""
    return sorted(path.stem for path in (conf_dir() / "compress").glob("*.yaml"))


def expand(arguments: list[str]) -> list[str]:
    """Put the shipped settings before the user's own arguments, and the environment's in between.

    Raises:
        UserError: No environment or an unknown one, or a `--config` that is no file.
    """
    if {"-h", "--help"} & set(arguments):
        return arguments
    env, rest = take_option(arguments, "--env")
    configs = given_configs(rest)
    settings: dict[str, Any] = yaml.safe_load((conf_dir() / "compress.yaml").read_text())
    if env is not None:
        settings = merge(settings, env_settings(env))
    elif not configs and not any(word.startswith("--env.") for word in rest):
        raise UserError(f"which environment? Give --env with {_known()} or a Gymnasium id")
    return [f"--config={yaml.safe_dump(settings, default_flow_style=True, width=10**9).strip()}", *rest]


def env_settings(name: str) -> dict[str, Any]:
    """Return what is shipped for an environment, by the name of its settings, a preset, or its Gymnasium id.

    Raises:
        UserError: There is no such environment.
    """
    if name in compress_presets():
        settings: dict[str, Any] = yaml.safe_load((conf_dir() / "compress" / f"{name}.yaml").read_text())
        return settings
    if name in preset_names("env"):
        return {"env": load_preset("env", name)["env"]}
    import gymnasium

    lower = name.lower()
    from_provider = lower.startswith(("ale/", "surrol/", "supermariobros")) or "noframeskip" in lower
    # The module in front of a colon registers what comes after it, later.
    if name not in gymnasium.registry and not from_provider and ":" not in name:
        known = [*compress_presets(), *preset_names("env"), *gymnasium.registry]
        raise UserError(
            f"--env expects {_known()}, a registered Gymnasium id, or module:Id, but got {name!r}."
            + nearest(name, known)
        )
    for preset in compress_presets():
        settings = yaml.safe_load((conf_dir() / "compress" / f"{preset}.yaml").read_text())
        if settings["env"]["id"] == name:
            return settings
    return {"env": {"name": short_name(name), "id": name}}


def check_early(settings: CompressSettings, env: EnvConfig) -> None:
    """Raise `UserError` for everything that can be told without torch."""
    settings.check()
    files = {"policy": "a policy file", "reference": "a policy file", "normalization": "a file of statistics"}
    for flag, kind in files.items():
        path = getattr(settings, flag)
        if path is not None and not Path(path).is_file():
            raise UserError(f"--{flag} expects {kind}, but there is none at {path}")
    if settings.policy is not None:
        kinds = (".npz", ".zip", ".ckpt")
        if Path(settings.policy).suffix not in kinds:
            raise UserError(
                f"--policy expects a policy.npz, a Stable-Baselines3 .zip or a .ckpt with --latent, but got {settings.policy}"
            )
        if settings.policy.endswith(".ckpt") and settings.latent is None:
            raise UserError("--policy with a checkpoint needs --latent, the numbers to decode: --latent '[0.5, -1.2]'")
    needs = [name for name in ("policy", "reference") if (getattr(settings, name) or "").endswith(".zip")]
    if needs or settings.policy is None:
        check_extra(
            "stable_baselines3", "compression", f"--{needs[0]}" if needs else f"--algorithm {settings.algorithm}"
        )


def _known() -> str:
    return f"a preset ({', '.join(sorted({*compress_presets(), *preset_names('env')}))})"
