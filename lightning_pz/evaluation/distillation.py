"""Distills one saved policy into another size: it is encoded by what it does, decoded, and both are played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.autoencoder.sizes import PolicySize
from lightning_pz.common.errors import UserError
from lightning_pz.envs.episodes import TaskReturns, VisitedStates, play_episodes
from lightning_pz.envs.forward import saved_act
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction
from lightning_pz.policy import PolicyNetwork, act_shared
from lightning_pz.policy.saved import SavedPolicy

_STATES = 4096  # visited states on which the two are compared, at most


@dataclass(frozen=True)
class Distillation:
    """A policy of another size that does what a saved one does, as far as its latent says."""

    policy: SavedPolicy
    own: dict[str, np.ndarray]  # returns of the saved policy by task, (episodes,); NaN where invalid
    there: dict[str, np.ndarray]  # of the distilled one, on the same episodes
    difference: (
        float  # mean squared difference of features on states that the saved one visits, in variances of the pool
    )


@torch.no_grad()
def distill_saved(
    model: BehaviorAutoencoder, saved: SavedPolicy, target: PolicySize, tasks: Mapping[str, TaskFunction],
    seeds: list[int], threads: int = 1,
) -> Distillation:  # fmt: skip
    """Encode a saved policy of any layout, decode it to a size, and play both; see `features_on` for errors."""
    code = model.bottleneck.center(model.encoder(features_on(saved, model.probe_states, model.policy)))
    params = target.decoder(code)
    distilled, spec = SavedPolicy.of(target.policy, params[0]), EnvSpec.from_dict(model.env)
    own, states = _play(saved, spec, tasks, seeds, threads)
    there, _ = _play(distilled, spec, tasks, seeds, threads)
    shown = states[np.linspace(0, len(states) - 1, min(_STATES, len(states))).astype(int)]
    rebuilt = act_shared(target.layout, params, target.policy.standardize(shown))
    difference = float((rebuilt - features_on(saved, shown, model.policy)).square().mean()) / model.action_variance
    return Distillation(distilled, own, there, difference)


def check_encodes_behavior(model: BehaviorAutoencoder, path: Path) -> None:
    """Raise `UserError` if a checkpoint encodes weights, of which a policy of any layout has others than its own policies."""
    if (kind := model.hparams["encoder"]) != "behavior":
        raise UserError(
            f"--translate encodes a policy from a file by what it does, but {path} has the encoder {kind}, which reads weights: "
            "give a checkpoint of a fit with --model.encoder behavior"
        )


def features_on(
    saved: SavedPolicy, states: Float[Tensor, "states observation"], network: PolicyNetwork
) -> Float[Tensor, "1 states feature"]:
    """Return the behavior features of a saved policy on raw states, as policies of a network have them.

    A policy without noise, of any layout, squash or library, has features where the network's are actions. Raises `UserError`
    for a policy of another environment, action box or head.
    """
    head, layout = network.layout.head, saved.layout
    same_box = all(torch.equal(getattr(saved, end), getattr(network, end)) for end in ("action_low", "action_high"))
    sizes = layout.observation_size, layout.action_size
    if sizes != (network.layout.observation_size, network.layout.action_size) or not same_box:
        raise UserError(
            f"--translate expects a policy of the environment that the checkpoint is of, with {network.layout.observation_size} "
            f"observations and {network.layout.action_size} actions in one box, but got one of {sizes[0]} and {sizes[1]}"
        )
    if saved.is_plain and layout.head == head:
        return act_shared(layout, saved.params[None], saved.network().standardize(states))
    if head.kind != "tanh":
        raise UserError(
            f"--translate expects a policy with the head {head.to_dict()} of the checkpoint, whose behavior it encodes, but "
            f"got one with {layout.head.to_dict()}"
        )
    half = (network.action_high - network.action_low) / 2
    return ((saved.act(states) - network.action_low) / half - 1)[None]


def _play(
    policy: SavedPolicy, spec: EnvSpec, tasks: Mapping[str, TaskFunction], seeds: list[int], threads: int
) -> tuple[dict[str, np.ndarray], Tensor]:
    """Return the returns of all tasks, (episodes,) each, and the states visited, (V, O) raw."""
    returns, visited = TaskReturns(tasks, len(seeds)), VisitedStates((spec.observation_size,))
    simulator = make_simulator(spec, len(seeds), threads)
    ends = play_episodes(saved_act(policy, seeds), simulator, seeds, spec.horizon, [returns, visited])
    each = np.where(ends.valid, returns.totals, np.nan)
    return dict(zip(tasks, each, strict=True)), torch.from_numpy(visited.by_episode())
