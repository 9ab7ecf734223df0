"""Turns a command line into settings: presets of environments, files that must be there. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.compression.model_words import with_model_words
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.envs.presets import (
    asks_help,
    conf_dir,
    given_configs,
    load_preset,
    merge,
    preset_names,
    short_name,
    take_option,
)


def expand(arguments: list[str]) -> list[str]:
    """Put the shipped settings and those of the environment before the user's own arguments, so that later ones win.

    Raises:
        UserError: No environment, unless help is asked for, or an unknown one, or a `--config` that is no file.
    """
    env, rest = take_option(arguments, "--env")
    settings: dict[str, Any] = yaml.safe_load((conf_dir() / "compress.yaml").read_text())
    is_named = bool(given_configs(rest)) or env is not None or any(word.startswith("--env.") for word in rest)
    if not is_named and not asks_help(arguments):
        raise UserError(f"which environment? Give --env with {_known()} or a Gymnasium id")
    if env is not None:
        settings = merge(settings, env_settings(env))
    shipped = yaml.safe_dump(settings, default_flow_style=True, width=10**9).strip()
    return [f"--config={shipped}", *with_model_words(settings, rest)]


def env_settings(name: str) -> dict[str, Any]:
    """Return the shipped settings of an environment, by their name, a preset, or its Gymnasium id; else `UserError`."""
    presets = preset_names("compress")
    if name in presets:
        return load_preset("compress", name)
    if name in preset_names("env"):
        return {"env": load_preset("env", name)["env"]}
    import gymnasium

    lower = name.lower()
    from_provider = lower.startswith(("ale/", "minatar/", "surrol/", "supermariobros")) or "noframeskip" in lower
    # The module in front of a colon registers its environments later.
    if name not in gymnasium.registry and not from_provider and ":" not in name:
        raise UserError(
            f"--env expects {_known()}, a registered Gymnasium id, or module:Id, but got {name!r}."
            + nearest(name, [*presets, *preset_names("env"), *gymnasium.registry])
        )
    shipped = [load_preset("compress", preset) for preset in presets]
    own = {"env": {"name": short_name(name), "id": name}}
    if (same := next((settings for settings in shipped if settings["env"]["id"] == name), None)) is not None:
        return same
    # The library's network for images takes none that are as small as those of this family.
    alike = lower.startswith("minatar/")
    return load_preset("compress", "minatar-breakout") | own if alike else own


def check_files(settings: CompressSettings) -> None:
    """Raise `UserError` for a file that is missing or of another kind, and for packages that its kind needs."""
    files = {"policy": "a policy file", "reference": "a policy file", "normalization": "a file of statistics"}
    for flag, kind in files.items():
        if (path := getattr(settings, flag)) is not None and not Path(path).is_file():
            raise UserError(f"--{flag} expects {kind}, but there is none at {path}")
    if settings.policy is not None:
        if Path(settings.policy).suffix not in (".npz", ".zip", ".ckpt"):
            raise UserError(
                f"--policy expects a policy.npz, a Stable-Baselines3 .zip or a .ckpt with --latent, but got {settings.policy}"
            )
        if settings.policy.endswith(".ckpt") and settings.latent is None:
            raise UserError("--policy with a checkpoint needs --latent, the numbers to decode: --latent '[0.5, -1.2]'")
    needs = [name for name in ("policy", "reference") if (getattr(settings, name) or "").endswith(".zip")]
    if needs or settings.policy is None:
        why = f"--{needs[0]}" if needs else f"--algorithm {settings.algorithm}"
        check_extra("stable_baselines3", "compression", why)


def _known() -> str:
    return f"a preset ({', '.join(sorted({*preset_names('compress'), *preset_names('env')}))})"
