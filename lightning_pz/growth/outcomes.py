"""Outcomes: vectors that describe where policies went in their own episodes, and their whitening.

References:
    Rahimi and Recht 2007, Random Features for Large-Scale Kernel Machines. Gretton et al. 2012, A Kernel Two-Sample
    Test: the distance of two mean embeddings is the maximum mean discrepancy between the two sets of visited
    state-action pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lightning_pz.common.errors import UserError
from lightning_pz.envs.episodes import Step
from lightning_pz.policy import PolicyNetwork

Outcomes = Float[np.ndarray, "policies outcome"]

_STILL = 0.1
"""An outcome coordinate that varies less than this over policies, as a share of how much it varies from step to step,
counts as constant: whitening would blow up mere chance. The mean velocity of a joint that swings to and fro is one."""
_RIDGE = 1e-2
"""Added to the correlation matrix before it is inverted, so that mere noise is not blown up to unit size."""


def fourier_features(
    size: int, features: int, bandwidth: float, seed: int
) -> Callable[[Float[np.ndarray, "points size"]], Float[np.ndarray, "points features"]]:
    """Draw F random Fourier features `sqrt(2 / F) cos(x w + b)` of points x, (N, D).

    Their inner product estimates the Gaussian kernel `exp(-|x - y|^2 / (2 h^2))` of bandwidth h, in the points' unit.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, 0)))
    frequencies = generator.standard_normal((size, features)) / bandwidth
    phases, scale = generator.uniform(0, 2 * np.pi, features), np.sqrt(2 / features)
    # A product for each point: those of a matrix product depend on how many points there are.
    return lambda points: scale * np.cos(np.matmul(points[:, None, :], frequencies)[:, 0] + phases)


@dataclass(frozen=True)
class Embedding:
    """Which numbers describe an episode.

    `features` go from standardized observations, (n, O), and actions of single steps, (n, A) in -1..1 or (n, C) with a 1 for
    what was chosen of each factor and else 0, to what is averaged over the episode, (n, F).
    """

    names: tuple[str, ...]  # of the coordinates; the last is the episode's length as a share of the horizon
    scales: np.ndarray  # about how much each varies from step to step, (D,); a tenth of the horizon for the length
    features: Callable[[np.ndarray, np.ndarray], np.ndarray]
    spread: bool = False  # whether the standard deviation of each feature over the episode follows its mean


def make_embedding(kind: str, observation_size: int, action_size: int, features: int, seed: int) -> Embedding:
    """Return an outcome embedding by name.

    `mean` of the standardized observations; `mean_spread`, their standard deviations as well; `fourier`, the mean of random
    Fourier features of visited state-action pairs, with a bandwidth of the root of the number of coordinates, so that
    typical exponents are about 1.
    """
    if kind == "fourier":
        size = observation_size + action_size
        drawn = fourier_features(size, features, float(np.sqrt(size)), seed)
        names = tuple(f"feature {i}" for i in range(features))
        # The cosine of a uniform phase has the variance 1/2.
        scales = np.append(np.full(features, 1 / np.sqrt(features)), 0.1)
        return Embedding((*names, "length"), scales, lambda seen, done: drawn(np.concatenate([seen, done], axis=1)))
    parts = {"mean": ("mean",), "mean_spread": ("mean", "spread")}.get(kind)
    if parts is None:
        raise ValueError(f"unknown outcome embedding {kind!r}")
    names = tuple(f"{part} {i}" for part in parts for i in range(observation_size))
    return Embedding((*names, "length"), np.append(np.ones(len(names)), 0.1), lambda seen, done: seen, len(parts) > 1)


class OutcomeObserver:
    """Averages an embedding over each of S episodes and keeps m visited states of it, each with equal chance.

    The network standardizes observations and scales actions; the horizon is that of the longest episode; the seed is that
    of the choice of states. Where these episodes are some of more, the choice is that of all of them, `among`, of which the
    first here is number `offset`.
    """

    def __init__(
        self,
        embedding: Embedding,
        network: PolicyNetwork,
        slots: int,
        horizon: int,
        keep: int,
        seed: int | list[int],
        among: int | None = None,
        offset: int = 0,
    ) -> None:
        self._embedding, self._horizon = embedding, horizon
        self._among, self._offset = slots if among is None else among, offset
        box = (network.observation_mean, network.observation_std, network.action_low, network.action_high)
        self._mean, self._std, low, high = (numbers.double().numpy() for numbers in box)
        self._low, self._middle, self._half = low.astype(np.int64), (low + high) / 2, (high - low) / 2
        self._choices = network.layout.head.choices
        count = len(embedding.names) - 1
        self._means = np.zeros((slots, count // 2 if embedding.spread else count))
        self._squares = np.zeros_like(self._means) if embedding.spread else None
        self._counts = np.zeros((slots, 1))
        self._visited = np.zeros((slots, keep, len(self._mean)), dtype=np.float32)
        self._generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, 1)))

    def see(self, step: Step) -> None:
        """Take one step in; see `Observer.see`."""
        active, observations = step.active, step.transition.observations
        seen = (observations - self._mean) / self._std
        features = self._embedding.features(seen, self._numbers(step.transition.actions))
        self._counts[active] += 1
        # Welford's update: exact means and squared deviations with no difference of large numbers.
        before = features - self._means[active]
        self._means[active] += before / self._counts[active]
        if self._squares is not None:
            self._squares[active] += before * (features - self._means[active])
        # Reservoir sampling: with m places, step t takes a random one with probability m / (t + 1).
        places = self._visited.shape[1]
        # For every episode, here or not, playing or not, so that none shifts another's draws.
        draws = self._generator.integers(0, step.number + 1, size=self._among)[self._offset + active]
        if step.number == 0:
            self._visited[active] = observations[:, None, :]
        place = np.full(len(active), step.number) if step.number < places else draws
        kept = place < places
        self._visited[active[kept], place[kept]] = observations[kept]

    def _numbers(self, actions: np.ndarray) -> np.ndarray:
        """Return actions, (n, A), in units of half action boxes, or with a number for each choice."""
        if not self._choices:
            return (actions - self._middle) / self._half
        chosen = (actions - self._low).T
        return np.concatenate([np.eye(count)[row] for count, row in zip(self._choices, chosen, strict=True)], axis=1)

    def outcomes(self) -> Outcomes:
        """Return the outcome of each episode, (S, D) float32."""
        parts = [self._means]
        if self._squares is not None:
            parts += [np.sqrt(self._squares / np.maximum(self._counts, 1))]
        return np.concatenate([*parts, self._counts / self._horizon], axis=1).astype(np.float32)

    def visited(self) -> np.ndarray:
        """Return the visited states that were kept, raw, (S, m, O) float32; the first state fills empty places."""
        return self._visited


@dataclass(frozen=True)
class Whitening:
    """A linear map after which outcomes have mean 0 and, up to a small ridge, unit covariance.

    Symmetric (ZCA), so that a whitened coordinate still stands for an outcome coordinate.
    """

    mean: np.ndarray  # (D,)
    matrix: np.ndarray  # (D', D), zero columns for coordinates that were left out
    kept: np.ndarray  # numbers of the D' coordinates that vary

    def __call__(self, outcomes: Outcomes) -> Float[np.ndarray, "policies white"]:
        """Return whitened outcomes, (N, D')."""
        return (outcomes - self.mean) @ self.matrix.T


def fit_whitening(outcomes: Outcomes, scales: Float[np.ndarray, " outcome"], what: str = "the outcomes") -> Whitening:
    """Fit the whitening of some outcomes, leaving out coordinates that hardly vary against their scales, (D,).

    If none varies, or there are fewer than two outcomes, a `UserError` names them by `what`.
    """
    values = outcomes.astype(np.float64)
    mean, std = values.mean(0), values.std(0) if len(values) else np.zeros(values.shape[1])
    kept = np.flatnonzero(std > _STILL * scales)
    if len(values) < 2 or not len(kept):
        raise UserError(
            f"{what} of {len(values)} random policies are all the same or nearly so, which leaves no direction to grow in: "
            "do episodes end at once? Check the environment, or raise --prior.gain"
        )
    scaled = (values[:, kept] - mean[kept]) / std[kept]
    variances, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    root = (axes / np.sqrt(np.maximum(variances, 0) + _RIDGE)) @ axes.T
    matrix = np.zeros((len(kept), values.shape[1]))
    matrix[:, kept] = root / std[kept]
    return Whitening(mean, matrix, kept)


def effective_dimension(outcomes: Outcomes, scales: Float[np.ndarray, " outcome"]) -> float:
    """Return the participation ratio of standardized outcomes: how many directions they spread over, 1 to D."""
    std = outcomes.std(0)
    kept = std > _STILL * scales
    if len(outcomes) < 2 or not kept.any():
        return 0.0
    scaled = (outcomes[:, kept] - outcomes[:, kept].mean(0)) / std[kept]
    values = np.linalg.eigvalsh((scaled.T @ scaled / len(scaled)).astype(np.float64)).clip(0)
    return float(values.sum() ** 2 / np.square(values).sum())
