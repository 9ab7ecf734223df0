"""What decides the result of a compression and is no setting: rules of the code by number, and its constants by value.

They are part of a run's identity, so that a run of other rules is another run. A number rises with every change of the code
of its part that changes a result; a constant of a part that changes results belongs beside it.
"""

from __future__ import annotations

from typing import Any

from lightning_pz.compression import environments, measures, seeds
from lightning_pz.compression.environments import World
from lightning_pz.compression.methods import l0, quantize
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.compression.training import distill

_NUMBERS = {"convolution_factors": 2, "int4": 2}
"""Of the parts whose rule has changed, all others are 1. Since rule 2 factors of a convolution have a scale per row where they
are on levels, as files keep them, and scales of 4 bits are bfloat16."""
_BEFORE: dict[str, dict[str, Any]] = {
    "files": {"rule": 1},
    "return": {"rule": 1, "first_seed": 6_000_000, "slots": 64},
    "behavior": {"rule": 1, "episodes": 5},
    "seeds": {"rule": 1, "first": 1 << 31, "margin": 1 << 16},
    "training": {"rule": 1},
    "distillation": {"rule": 1, "held_out": 5_000_000},
    "distillation_of_levels": {"rule": 1, "rate": 0.3},
    "prune": {"rule": 1},
    "l0": {"rule": 1, "stretch": [-0.1, 1.1], "temperature": 2 / 3, "edge": 1e-6},
    "low_rank": {"rule": 1},
    "rank_by_error": {"rule": 1, "states": 2000},
    "int8": {"rule": 1},
    "int4": {"rule": 2},
    "activations": {"rule": 1, "tried": 33, "states": 2000},
}
"""The rules that runs followed whose identity holds none; where these are still those of a run, it is found again.

`convolution_factors` is not among them, for some of those runs followed rule 1, and nothing says which.
"""
_UNSURE = {"rules": frozenset[str](), "versions": frozenset({"int4"})}
"""By what an identity lacks, more such parts."""


def fixed_rules(world: World, settings: CompressSettings) -> dict[str, dict[str, Any]]:
    """Return the rules, by the parts that a run has, as plain data."""
    distills, bits, truncates = settings.policy is not None, settings.bits, settings.has("low_rank")
    # With a scale per channel for all weights anyway, both rules are one.
    splits = truncates and world.is_image and bits is not None and not settings.per_channel(bits)
    parts: dict[str, tuple[bool, dict[str, Any]]] = {
        "files": (True, {}),
        "return": (True, {"first_seed": seeds.RETURN_SEEDS, "slots": environments.EPISODE_SLOTS}),
        "behavior": (distills or settings.reference is not None, {"episodes": measures.BEHAVIOR_EPISODES}),
        "seeds": (True, {"first": seeds.FIRST_TRAINED, "margin": seeds.SEED_MARGIN}),
        "training": (not distills, {}),
        "distillation": (distills, {"held_out": seeds.HELD_OUT_SEEDS}),
        "distillation_of_levels": (distills and bits is not None, {"rate": distill.INT8_RATE}),
        "prune": (settings.has("prune"), {}),
        "l0": (
            settings.has("l0"),
            {"stretch": [*l0.STRETCH], "temperature": l0.TEMPERATURE, "edge": l0.UNIFORM_EDGE},
        ),
        "low_rank": (truncates, {}),
        "rank_by_error": (truncates and settings.low_rank.error is not None, {"states": distill.RANK_STATES}),
        "convolution_factors": (splits, {}),
        "int8": (settings.has("int8"), {}),
        "int4": (settings.has("int4"), {}),
        "activations": (settings.activations, {"tried": quantize.TRIED_SCALES, "states": distill.RANK_STATES}),
    }
    return {part: {"rule": _NUMBERS.get(part, 1)} | constants for part, (counts, constants) in parts.items() if counts}


def ruled_runs_without(lacking: str, rules: dict[str, dict[str, Any]]) -> bool:
    """Return whether runs whose identity lacks `rules`, or `versions` as well, surely followed these rules."""
    return all(_BEFORE.get(part) == rule and part not in _UNSURE[lacking] for part, rule in rules.items())
