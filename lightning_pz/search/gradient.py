"""Policy gradient in the latent space, chained through the frozen decoder: `grad_z J = (dg/dz)^T grad_theta J`.

Policies whose head gives a distribution draw their actions from it, and the likelihood is the head's own. To the actions of
a `tanh` head Gaussian noise is added.

Source: Williams 1992, REINFORCE; the chain through a decoder: Tenedini et al., From Parameters to Behaviors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from lightning_pz.envs.episode_seeds import episode_seeds, seed_of
from lightning_pz.envs.episodes import Episodes
from lightning_pz.envs.forward import BatchForward, noisy
from lightning_pz.policy import PolicyNetwork, acting
from lightning_pz.policy.network import outputs_each
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.algorithm_settings import GradientSettings
from lightning_pz.search.generation import Generation, SearchFromStarts
from lightning_pz.search.optimizers.clipup_adam import Adam, adam, adam_step
from lightning_pz.search.optimizers.protocol import Vectors
from lightning_pz.search.spaces import Decode, SearchSpace

_CHUNK_STATES = 1 << 14  # States whose activations are kept at a time for the backward pass


def chain(decode: Decode, points: Vectors, gradient: Callable[[Tensor], Tensor]) -> Vectors:
    """Return the gradient with respect to points, (n, d), `(dg/dz)^T grad_theta J`, from that by their weights.

    `decode`, g, takes the points to weights, (n, P); `gradient` takes these to the gradient by them, (n, P).
    """
    leaf = points.detach().requires_grad_()
    with torch.enable_grad():
        params = decode(leaf)
    params.backward(gradient(params.detach()))
    assert leaf.grad is not None
    return leaf.grad


def rewards_to_go(rewards: np.ndarray, discount: float) -> np.ndarray:
    """Return the discounted sum of the rewards from each step on, (S, T), for rewards (S, T)."""
    sums, total = np.empty_like(rewards), np.zeros(len(rewards))
    for step in reversed(range(rewards.shape[1])):
        total = rewards[:, step] + discount * total
        sums[:, step] = total
    return sums


def advantages(returns: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Subtract a baseline from returns-to-go and scale each policy's to a mean square of 1.

    The baseline of a step is the mean, at that step, of the policy's *other* episodes that were still running (0 where
    none was), so it does not depend on the action that it judges and adds no bias. Returns-to-go and the mask of steps
    that were played are (G, E, T).
    """
    kept = np.where(mask, returns, 0.0)
    others = mask.sum(axis=1, keepdims=True) - mask
    baseline = (kept.sum(axis=1, keepdims=True) - kept) / np.maximum(others, 1)
    centered = np.where(mask, kept - baseline, 0.0)
    count = np.maximum(mask.sum(axis=(1, 2), keepdims=True), 1)
    scale = np.sqrt(np.square(centered).sum(axis=(1, 2), keepdims=True) / count)
    return centered / np.maximum(scale, 1e-12)


def log_likelihood(
    network: PolicyNetwork,
    params: Float[Tensor, "policies params"],
    observations: Float[Tensor, "policies states observation"],
    actions: Real[Tensor, "policies states action"],
    noise: Float[Tensor, " action"],
) -> Float[Tensor, "policies states"]:
    """Return the logarithm of the likelihood of actions up to a constant, in units of the action or as chosen.

    It is the head's; for a `tanh` head that of Gaussian noise of this standard deviation around the action.
    """
    head = network.layout.head
    if head.kind == "tanh":
        return -0.5 * ((actions - network(params, observations)) / noise).square().sum(-1)
    if head.choices:
        units = actions - network.action_low
    else:
        units = (actions - network.action_low) / ((network.action_high - network.action_low) / 2) - 1
    return head.log_prob(outputs_each(network.layout, params, network.standardize(observations)), units)


def likelihood_gradient(
    network: PolicyNetwork,
    params: Float[Tensor, "policies params"],
    observations: Float[Tensor, "policies states observation"],
    actions: Real[Tensor, "policies states action"],
    weights: Float[Tensor, "policies states"],
    mask: Bool[Tensor, "policies states"],
    noise: Float[Tensor, " action"],
) -> Float[Tensor, "policies params"]:
    """Return `sum_t weight_t grad_theta log p_theta(a_t | s_t)`, over the number of states played; see `log_likelihood`.

    Observations are raw, (G, M, O); actions, (G, M, A), were chosen there before clipping, in units of the action, as
    is the noise's standard deviation; the weights, (G, M), are advantages; states outside the mask are padding.
    """
    if network.layout.head.choices:
        # Padding need not be a choice that there is.
        actions = torch.where(mask[..., None], actions, network.action_low)
    leaf = params.detach().requires_grad_()
    share = weights * mask / mask.sum(dim=1, keepdim=True).clamp_min(1)
    span = max(1, _CHUNK_STATES // len(params))
    for first in range(0, observations.shape[1], span):
        part = slice(first, first + span)
        with torch.enable_grad():
            likelihood = log_likelihood(network, leaf, observations[:, part], actions[:, part], noise)
            (likelihood * share[:, part]).sum().backward()
    # Where all episodes were invalid from their first observation there is no state.
    return torch.zeros_like(params) if leaf.grad is None else leaf.grad


class GradientState(NamedTuple):
    """State of some policies that are improved side by side."""

    generation: int  # Generations so far, the trial of the starts included
    steps: int  # Environment steps so far
    released: bool  # Whether the points are weights, the decoder having been released
    points: Tensor  # (G, d) float64; (0, d) before the starts were tried
    scores: Tensor  # Running mean of each policy's return, (G,) float64
    mover: Adam  # Adam's state


@dataclass(eq=False, kw_only=True)
class GradientSearch(SearchFromStarts):
    """Policy gradient on several decoded policies, the best of the starts, behind `lightning_pz.search.generation.Search`."""

    state_types: ClassVar[tuple[type, ...]] = (GradientState, Adam)
    settings: GradientSettings  # Policies, episodes, noise, rates
    latents: SearchSpace  # The latent space

    @property
    def generation_episodes(self) -> int:
        return self.settings.policies * self.settings.episodes

    @property
    def _noise(self) -> Float[Tensor, " action"]:
        network = self.objective.problem.network
        return self.settings.noise * (network.action_high - network.action_low) / 2

    @property
    def _sigma(self) -> float:
        """The noise, or NaN where the head has its own."""
        return self.settings.noise if self.objective.problem.network.layout.head.kind == "tanh" else float("nan")

    def begin(self) -> GradientState:
        points = torch.zeros(0, self.latents.size, dtype=torch.double)
        mover = adam(points, self.settings.learning_rate)
        return GradientState(0, 0, False, points, torch.zeros(0, dtype=torch.double), mover)

    def step(self, state: GradientState) -> tuple[GradientState, Generation]:
        if not state.generation:
            return self._start()
        if self.is_release_due(state):
            state = self._release(state)
        played: list[Episodes] = []

        def gradient(params: Tensor) -> Tensor:
            played.append(self._play(params, state.generation))
            return self._gradient(params, played[0])

        by_point = chain(self._space(state).decode, state.points, gradient)
        mover, step = adam_step(state.mover, by_point)
        steps, returns = played[0].steps, played[0].returns().reshape(len(state.points), -1)
        is_invalid = np.isnan(returns).any(axis=1)
        mean = np.where(is_invalid, np.nan, returns.sum(axis=1) / returns.shape[1])
        latest = torch.from_numpy(np.where(is_invalid, -np.inf, mean))
        following = state._replace(
            generation=state.generation + 1,
            steps=state.steps + steps,
            points=state.points + step,
            scores=torch.where(torch.isfinite(state.scores), 0.5 * state.scores + 0.5 * latest, latest),
            mover=mover,
        )
        return following, Generation(steps, mean, self._sigma, returns.size, not np.isfinite(returns).any())

    @torch.no_grad()
    def incumbent(self, state: GradientState) -> SavedPolicy:
        """Return the policy with the best running mean, without noise that its head does not have."""
        points = (
            state.points[state.scores.argmax()][None]
            if len(state.points)
            else self.latents.draw(1, seed_of(self.seed, 0))
        )
        params = self._space(state).decode(points)[0]
        return SavedPolicy.of(self.objective.problem.network, params)

    @torch.no_grad()
    def _start(self) -> tuple[GradientState, Generation]:
        points = self.latents.draw(self.starts, seed_of(self.seed, 0))
        returns = self.try_starts(self.latents.decode(points))
        fitness = torch.from_numpy(returns.mean).nan_to_num(nan=-torch.inf)
        best = fitness.argsort(descending=True, stable=True)[: self.settings.policies]
        points = points[best].clone()
        mover = adam(points, self.settings.learning_rate)
        following = GradientState(1, returns.steps, False, points, fitness[best], mover)
        return following, Generation(returns.steps, returns.mean, self._sigma, returns.each.size, returns.is_lost)

    @torch.no_grad()
    def _release(self, state: GradientState) -> GradientState:
        """Turn latents into weights; the optimizer begins again."""
        assert self.weights.encode is not None
        points = self.weights.encode(self.latents.decode(state.points))
        return state._replace(released=True, points=points, mover=adam(points, self.settings.parameter_learning_rate))

    def _space(self, state: GradientState) -> SearchSpace:
        return self.weights if state.released else self.latents

    def _play(self, params: Tensor, generation: int) -> Episodes:
        count = self.settings.episodes
        seeds = episode_seeds(self.seed, generation, count) * len(params)
        own = self.objective.problem.network
        # Whatever the policies' own way is: the likelihood is that of drawn actions.
        network = own if own.layout.head.kind == "tanh" else acting(own, True)
        forward = BatchForward(network, params, count, seeds)
        if network.layout.head.sample:
            return self.objective.play(forward, seeds)
        generator = np.random.default_rng(np.random.SeedSequence([self.seed, generation], spawn_key=(2,)))
        return self.objective.play(noisy(forward, self._noise.numpy(), generator), seeds)

    def _gradient(self, params: Tensor, episodes: Episodes) -> Tensor:
        shape = (len(params), self.settings.episodes)
        mask = episodes.mask().reshape(*shape, -1)
        to_go = rewards_to_go(np.where(episodes.mask(), episodes.rewards, 0.0), self.settings.discount)
        judged = advantages(to_go.reshape(mask.shape), mask)
        return likelihood_gradient(
            self.objective.problem.network,
            params,
            torch.from_numpy(episodes.observations).unflatten(0, shape).flatten(1, 2),
            torch.from_numpy(episodes.actions).unflatten(0, shape).flatten(1, 2),
            torch.from_numpy(judged).float().flatten(1),
            torch.from_numpy(mask).flatten(1),
            self._noise,
        )
