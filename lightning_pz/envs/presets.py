"""Turns presets, such as `--env halfcheetah --policy medium`, into settings. Imports no torch."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_pz.common.checks import check_choices, check_horizon, plain_name, positive
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.common.files import safe_name, slug
from lightning_pz.envs.arguments import check_arguments, located


@dataclass
class EnvConfig:
    """An environment.

    Args:
        name: Short name, used in folder names.
        id: Registered Gymnasium id with its version.
        horizon: Steps after which an episode is cut; the environment's own limit if null.
        kwargs: Arguments of its constructor, such as `--env.kwargs.xml_file robot.xml --env.kwargs.frame_skip 4`; files are
            looked up from the current folder.
    """

    name: str
    id: str
    horizon: int | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain_name("env.name", self.name)
        check_arguments(self.kwargs)
        self.kwargs = located(self.kwargs)
        check_horizon(self.horizon)


@dataclass
class PolicyConfig:
    """A policy network.

    Args:
        name: Short name, used in folder names.
        hidden: Hidden widths from input to output.
        activation: Hidden activation.
        head: What the last layer gives: `tanh` an action of the box; `gaussian` a mean in the box and a standard deviation for
            each of its coordinates; `categorical` logits of the choices. auto: tanh in a box, categorical for choices.
        temperature: `categorical`: by which logits are divided. At 0.2 the choices of random policies have about half the entropy
            of uniform ones; at 1 nearly all of it.
        initial_std: `gaussian`: standard deviation where the last layer gives 0, in half action boxes; twice that is the bound.
        sample: Whether actions are drawn from the distribution, the same in each episode of one seed. Else the mean or the
            most likely choice is taken.
    """

    name: str = "medium"
    hidden: list[int] = field(default_factory=lambda: [32, 32])
    activation: Literal["tanh", "relu", "silu", "linear"] = "tanh"
    head: Literal["auto", "tanh", "gaussian", "categorical"] = "auto"
    temperature: float = 0.2
    initial_std: float = 0.3
    sample: bool = False

    def __post_init__(self) -> None:
        plain_name("policy.name", self.name)
        check_choices(self, "policy.")
        positive({f"policy.{name}": getattr(self, name) for name in ("temperature", "initial_std")})


def conf_dir() -> Path:
    """Return the folder of shipped settings: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    return next((d for d in (package / "_conf", package.parent / "conf") if d.is_dir()), package.parent / "conf")


def preset_names(kind: str) -> list[str]:
    """Return the names of the presets of a kind, `env` or `policy`."""
    return sorted(path.stem for path in (conf_dir() / kind).glob("*.yaml"))


def load_preset(kind: str, name: str) -> dict[str, Any]:
    """Read one preset; `UserError` if there is none of that name."""
    path = conf_dir() / kind / f"{name}.yaml"
    if not path.is_file():
        names = preset_names(kind)
        raise UserError(f"--{kind} expects one of {', '.join(names)}, but got {name!r}." + nearest(name, names))
    return yaml.safe_load(path.read_text())


def resolve_env(name: str, *, check: bool = True) -> dict[str, Any]:
    """Return the configuration of a preset or of a registered Gymnasium id: `env`, and a preset's sections by command.

    An id is checked to be usable by making it; see `env_spec`. Without `check` it is not, for arguments of its
    constructor are still to come.

    Raises:
        UserError: Neither a preset nor a registered id, or an environment that cannot be made or acted in.
    """
    presets = preset_names("env")
    if name in presets:
        return load_preset("env", name)
    import gymnasium

    from lightning_pz.envs.specs import env_spec

    if name not in gymnasium.registry and not name.count(":"):
        raise UserError(
            f"--env expects a preset ({', '.join(presets)}) or a registered Gymnasium id, but got {name!r}."
            + nearest(name, [*presets, *gymnasium.registry])
        )
    if check:
        env_spec(name)
    return {"env": {"name": short_name(name), "id": name}}


def env_name(env_id: str) -> str:
    """Return the short name of an environment: its preset's, or one made from its id that no other id shares."""
    presets = (name for name in preset_names("env") if load_preset("env", name)["env"]["id"] == env_id)
    return next(presets, None) or short_name(env_id)


def short_name(env_id: str) -> str:
    """Return the name that stands for an environment id in folders; no two ids share one, nor an id and a preset.

    Gymnasium's own ids differ in more than their case and need no more than their slug. Anything else may differ from
    another id in what a slug drops, and then gets digits of its own.
    """
    import gymnasium

    entries = {key: str(spec.entry_point) for key, spec in gymnasium.registry.items()}
    own = {key: slug(key) for key, entry in entries.items() if entry.startswith("gymnasium.envs.")}
    if env_id in own:
        return own[env_id]
    name = safe_name(env_id)
    return safe_name(f"{env_id}!").strip("-") if name in {*own.values(), *preset_names("env")} else name


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on top, mappings merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def default_recipe(arguments: list[str]) -> str:
    """Return the recipe that `collect` takes without `--recipe`: that of a `--config` file, else what `fit` takes."""
    asked = given_keys(arguments).get("recipe")
    settings = yaml.safe_load((conf_dir() / "fit.yaml").read_text())
    for kind in ("env", "policy"):
        name, _ = take_option(arguments, f"--{kind}")
        settings = merge(settings, load_preset(kind, name).get("fit", {}) if name in preset_names(kind) else {})
    return str(asked or settings["data"]["recipe"])


def given_keys(arguments: list[str]) -> dict[str, Any]:
    """Return the settings of all `--config` files, the last one's on top; broken files are left to the parser."""
    merged: dict[str, Any] = {}
    for path in given_configs(arguments):
        with contextlib.suppress(yaml.YAMLError):
            plain = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            merged = merge(merged, plain if isinstance(plain, dict) else {})
    return merged


def asks_help(arguments: list[str]) -> bool:
    """Return whether arguments ask for help, which needs no environment and takes the defaults of one that is named."""
    return any(word in ("-h", "--help") or word.startswith("--help=") for word in arguments)


def explain_presets(parser: Any) -> None:
    """Say in the help of a `CommandParser` what `--env` and `--policy` take, which `expand_presets` replaces."""
    env = f"A preset ({', '.join(preset_names('env'))}) or a registered Gymnasium id."
    policy = f"A preset of the policy's size: {', '.join(preset_names('policy'))}."
    parser.explain({"env": env, "policy": policy}, "NAME")


def take_option(arguments: list[str], name: str) -> tuple[str | None, list[str]]:
    """Take `--name VALUE` or `--name=VALUE` out of the arguments; the last one wins, and one without value is refused."""
    values, rest = _take(arguments, name, action="append")
    return values[-1] if values else None, rest


def take_options(arguments: list[str], name: str) -> tuple[list[str], list[str]]:
    """Take every `--name A B --name C` out of the arguments, up to the next flag each time."""
    return _take(arguments, name, action="extend", nargs="*")


def _take(arguments: list[str], name: str, **how: Any) -> tuple[list[str], list[str]]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(name, dest="values", default=[], **how)
    try:
        found, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{name} expects a value, but nothing came after it") from error
    return found.values, rest


def at_shipped(arguments: list[str]) -> list[str]:
    """Return the arguments with `--config conf/NAME.yaml` led to the shipped file, unless the current folder has one."""
    led = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        flag, _, path = word.rpartition("=") if word.startswith("--config=") else ("", "", word)
        name = path.removeprefix("conf/")
        is_config = (flag or before == "--config") and name != path and not Path(path).exists()
        shipped = conf_dir() / name
        led.append(word.replace(path, str(shipped)) if is_config and shipped.is_file() else word)
    return led


def given_configs(arguments: list[str]) -> list[str]:
    """Return the paths of every `--config A --config=B`, checked to be text files in UTF-8; see `at_shipped`."""
    configs, _ = _take(at_shipped(arguments), "--config", action="append")
    for path in configs:
        if not Path(path).is_file():
            raise UserError(f"--config expects a YAML file, but there is none at {path}")
        try:
            Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"--config expects a YAML file in UTF-8, but {path} is in another encoding ({error.reason} at byte "
                f"{error.start}): save it as UTF-8"
            ) from error
        except OSError as error:
            raise UserError(f"--config {path} cannot be read ({error.strerror})") from error
    return configs


def _without(named: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return what presets name without the settings that words set, so that a flag beats a preset beside a file too."""
    flags = {word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--")}
    return {
        section: {key: value for key, value in own.items() if f"{section}.{key}" not in flags}
        for section, own in named.items()
    }


def expand_presets(command: str, arguments: list[str]) -> list[str]:
    """Put the shipped settings of a command before the user's own arguments, so that later arguments win.

    `--env` and `--policy` are replaced by what they stand for. A preset may hold a section named after the
    command, whose contents count for that command only. Raises `UserError` for no environment, unless help is asked for,
    or an unknown one.
    """
    env, rest = take_option(at_shipped(arguments), "--env")
    policy, rest = take_option(rest, "--policy")
    configs = given_configs(rest)
    is_named = env is not None or bool(configs) or any(word.startswith("--env.") for word in rest)
    if not is_named and not asks_help(arguments):
        names = ", ".join(preset_names("env"))
        raise UserError(f"which environment? Give --env with a preset ({names}) or a Gymnasium id")
    settings = yaml.safe_load((conf_dir() / f"{command}.yaml").read_text()) or {}
    # Arguments of the constructor may stand there or in a file.
    is_whole = not configs and not any(word.startswith("--env.kwargs") for word in rest)
    presets = [resolve_env(env, check=is_whole)] if env else []
    if policy or not configs:
        presets.append(load_preset("policy", policy or "medium"))
    named = {key: value for preset in presets for key, value in preset.items() if key in ("env", "policy")}
    for preset in presets:
        settings = merge(settings, preset.get(command, {}))
    # Presets named on the command line beat a --config file; a --config file beats the shipped defaults.
    last = [_without(named, rest)] if configs and presets else []
    first, *after = (
        f"--config={yaml.safe_dump(part, default_flow_style=True, width=10**9).strip()}"
        for part in (merge(settings, named), *last)
    )
    return [first, *rest, *after]
