"""Refuses searches whose algorithm cannot act in an environment, or with a head; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_pz.common.errors import UserError
from lightning_pz.search.algorithm_settings import GradientSettings
from lightning_pz.search.settings import BASELINES, SearchSettings

if TYPE_CHECKING:
    from lightning_pz.policy.heads import Head


def check_actions(algorithm: str, env_id: str, choices: tuple[int, ...]) -> None:
    """Raise `UserError` for a learner of Stable-Baselines3 that does not take actions of these choices, or in a box if empty."""
    if algorithm not in BASELINES or algorithm == "ppo":
        return
    if algorithm != "dqn" and choices:
        fits = "ppo or dqn" if len(choices) == 1 else "ppo"
        raise UserError(
            f"--algorithm {algorithm} acts in a box of real numbers, but {env_id} has {_named(choices)}: give --algorithm "
            f"{fits}, or a search in the latents (--algorithm pgpe)"
        )
    if algorithm == "dqn" and len(choices) != 1:
        raise UserError(
            f"--algorithm dqn chooses one of some actions, but {env_id} has {_named(choices)}: give --algorithm ppo, or a search "
            "in the latents (--algorithm pgpe)"
        )


def check_actor(settings: SearchSettings, head: Head) -> None:
    """Raise `UserError` for an off-policy search of decoded policies whose head is not `tanh`."""
    if head.kind != "tanh":
        raise UserError(
            f"--space {settings.space} learns policies that give one action in a box (head tanh), but the decoder's have a "
            f"{head.kind} head: leave --space out, or give another --algorithm, such as pgpe"
        )


def check_noise(settings: SearchSettings, head: Head) -> None:
    """Raise `UserError` for noise that is asked for beside that of a head."""
    if head.kind != "tanh" and settings.gradient.noise != GradientSettings().noise:
        raise UserError(
            f"--gradient.noise is added to the actions of a tanh head, but these policies have a {head.kind} head, which draws "
            "its actions: leave it out"
        )


def _named(choices: tuple[int, ...]) -> str:
    return f"actions of {' x '.join(map(str, choices))} choices" if choices else "a box of them"
