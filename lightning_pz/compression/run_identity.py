"""What decides the result of a compression: environment, settings that are used, files and classes by content, versions."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from lightning_pz.common.files import file_digest
from lightning_pz.common.identity import digest, source_digest
from lightning_pz.common.known_folders import Identity
from lightning_pz.common.version import library_version
from lightning_pz.compression.environments import World
from lightning_pz.compression.fixed_rules import fixed_rules, ruled_runs_without
from lightning_pz.compression.make_environment import provider_of
from lightning_pz.compression.part_settings import DistillSettings, Int4Settings, Int8Settings, LowRankSettings
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.envs.episode_identity import versions

_CALIBRATED = "calibrated"
"""How activations are rounded: their scales are calibrated once; they followed the largest number seen before."""
_SOURCES = {"lightning_pz.compression.residual_cnn.ResidualCNN": "65e314598cfedc34"}
"""Source digests of this package's own classes, kept when an edit leaves their results alone, so that runs are found."""


def compression_identity(world: World, settings: CompressSettings) -> Identity:
    """Return everything that decides a run's result, by its content."""
    seen = {key: value for key, value in dataclasses.asdict(world).items() if key != "given"}  # by content in `content`
    plain, rules, installed = (
        _plain(settings),
        fixed_rules(world, settings),
        versions(world.id, *_packages(world, settings)),
    )
    known = {"world": seen, "sources": _sources(settings)}
    then = known | {"settings": used(settings, plain), "versions": installed}
    content = then | {"versions": installed | {"torch": library_version("torch")}, "rules": rules}
    earlier = []
    if ruled_runs_without("rules", rules):
        earlier.append(then)
    if ruled_runs_without("versions", rules):
        # The first versions kept all settings, the parts of a method as they were given.
        orders = ["+".join(parts) for parts in itertools.permutations(settings.method.split("+"))]
        earlier += [known | {"settings": plain | {"method": order}} for order in orders]
    return Identity(content, tuple(digest(one)[:16] for one in earlier))


def used(settings: CompressSettings, plain: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a result among all settings, which `plain` holds with files by their content."""
    distills, prunes, gates, truncates = settings.policy is not None, *map(settings.has, ("prune", "l0", "low_rank"))
    unused = {
        "algorithm": distills, "steps": distills, "model": distills, "distill": not distills,
        "sparsity": not prunes, "distribution": not prunes, "l0": not gates, "low_rank": not truncates,
        "int8_share": settings.bits is None, "activations": not settings.activations,
    }  # fmt: skip
    kept = {key: value for key, value in plain.items() if value is not None and not unused.get(key)}
    kept["method"] = settings.ordered_method
    # The first weights to go, and when the others do; gates and factors settle at the end of the ramp.
    times = {"begin": prunes or gates, "end": prunes or gates or truncates, "events": prunes}
    kept["ramp"] = {key: value for key, value in plain["ramp"].items() if times[key]}
    if truncates:
        kept["low_rank"] = _rule(settings.low_rank)
    if not distills:
        kept["model"] = settings.model.get(settings.algorithm, {})
    return kept


def _packages(world: World, settings: CompressSettings) -> list[str]:
    """Return the packages that decide a result beside those that simulate the environment."""
    # Atari games are played through the library's wrapper, and MinAtar's images are not made smaller.
    provider = provider_of(world.id)
    learns, resized = settings.policy is None or provider == "ale_py", world.is_image and provider != "minatar"
    return (["stable_baselines3"] if learns else []) + (["opencv-python-headless"] if resized else [])


def _rule(settings: LowRankSettings) -> dict[str, Any]:
    """Return the rule that chooses ranks; that of the energy counts where there is no other."""
    rules = {key: value for key, value in vars(settings).items() if value is not None}
    return {key: value for key, value in rules.items() if key != "energy"} or rules


def _plain(settings: CompressSettings) -> dict[str, Any]:
    """Return all settings as plain data, files by their content."""
    plain = dataclasses.asdict(settings)
    for part, default in (("int8", Int8Settings()), ("int4", Int4Settings())):
        if getattr(settings, part) == default:
            del plain[part]  # younger than many finished runs, which had no choice of scales
    plain["distill"]["device"] = plain["distill"]["device"].partition(":")[0]  # which of several rounds no number
    if plain["distill"]["device"] == DistillSettings().device:
        del plain["distill"]["device"]  # as young
    if settings.activations:
        plain["activations"] = _CALIBRATED
    for key in ("policy", "reference", "normalization"):
        if plain[key] is not None:
            plain[key] = file_digest(Path(plain[key]))
    return plain


def _sources(settings: CompressSettings) -> dict[str, str]:
    """Return digests of the sources of the classes that the arguments of a learner name."""
    if settings.policy is not None:
        return {}
    from lightning_pz.compression.training.sb3_run import CLASS_ARGUMENTS, class_of

    inner, found = settings.model.get(settings.algorithm, {}).get("policy_kwargs", {}), {}
    for key in CLASS_ARGUMENTS:
        if isinstance(path := inner.get(key), str):
            named = class_of(f"model.{settings.algorithm}.policy_kwargs.{key}", path)
            found[key] = _SOURCES.get(path) or source_digest(named)
    return found
