"""Outcomes: where a policy went in its own episode, as a vector, and the space in which they are compared.

References:
    Rahimi and Recht 2007, Random Features for Large-Scale Kernel Machines. Gretton et al. 2012, A Kernel Two-Sample
    Test: the distance of two mean embeddings is the maximum mean discrepancy between the two sets of visited
    state-action pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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


class FourierFeatures(NamedTuple):
    """Random features whose inner products approximate a Gaussian kernel.

    Attributes:
        frequencies: (D, F), standard normal over the bandwidth.
        phases: (F,), uniform on a circle.
    """

    frequencies: np.ndarray
    phases: np.ndarray

    def __call__(self, points: Float[np.ndarray, "points size"]) -> Float[np.ndarray, "points features"]:
        """Return `sqrt(2 / F) cos(x w + b)`, (N, F); their inner product estimates `exp(-|x - y|^2 / (2 h^2))`."""
        scale = np.sqrt(2 / len(self.phases))
        return scale * np.cos(points @ self.frequencies + self.phases)


def fourier_features(size: int, features: int, bandwidth: float, seed: int) -> FourierFeatures:
    """Draw random Fourier features of a Gaussian kernel.

    Args:
        size: Numbers in a point, D.
        features: F.
        bandwidth: h, in the unit of the points.
        seed: Of the draw.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, 0)))
    return FourierFeatures(
        generator.standard_normal((size, features)) / bandwidth, generator.uniform(0, 2 * np.pi, features)
    )


@dataclass(frozen=True)
class Embedding:
    """Which numbers describe an episode.

    Attributes:
        names: Of the coordinates; the last is the episode's length as a share of the horizon.
        scales: About how much each varies from step to step, (D,); a tenth of the horizon for the length.
        features: From standardized observations, (n, O), and actions in -1..1, (n, A), of single steps to what is
            averaged over the episode, (n, F).
        spread: Whether the standard deviation of each feature over the episode follows its mean.
    """

    names: tuple[str, ...]
    scales: np.ndarray
    features: Callable[[np.ndarray, np.ndarray], np.ndarray]
    spread: bool = False


def make_embedding(kind: str, observation_size: int, action_size: int, features: int, seed: int) -> Embedding:
    """Return an outcome embedding by name.

    Args:
        kind: `mean` of the standardized observations; `mean_spread`, their standard deviations as well; `fourier`,
            the mean of random Fourier features of visited state-action pairs, with a bandwidth of the root of the
            number of coordinates, so that typical exponents are about 1.
        observation_size: O.
        action_size: A.
        features: Fourier features.
        seed: Of the Fourier features.
    """
    ones = np.ones(observation_size)
    means = tuple(f"mean {i}" for i in range(observation_size))
    if kind == "fourier":
        size = observation_size + action_size
        drawn = fourier_features(size, features, float(np.sqrt(size)), seed)
        names = tuple(f"feature {i}" for i in range(features))
        # The cosine of a uniform phase has the variance 1/2.
        scales = np.append(np.full(features, 1 / np.sqrt(features)), 0.1)
        return Embedding((*names, "length"), scales, lambda seen, done: drawn(np.concatenate([seen, done], axis=1)))
    if kind == "mean_spread":
        spreads = tuple(f"spread {i}" for i in range(observation_size))
        scales = np.concatenate([ones, ones, [0.1]])
        return Embedding((*means, *spreads, "length"), scales, lambda seen, done: seen, spread=True)
    if kind == "mean":
        return Embedding((*means, "length"), np.append(ones, 0.1), lambda seen, done: seen)
    raise ValueError(f"unknown outcome embedding {kind!r}")


class OutcomeObserver:
    """Averages an embedding over each episode, and keeps a few visited states of it.

    Args:
        embedding: What to average.
        network: Standardization and action box.
        slots: Number of episodes, S.
        horizon: Steps of the longest episode.
        keep: Visited states to keep of each episode, m, every one with equal chance.
        seed: Of that choice, one number or several.
    """

    def __init__(
        self,
        embedding: Embedding,
        network: PolicyNetwork,
        slots: int,
        horizon: int,
        keep: int,
        seed: int | Sequence[int],
    ) -> None:
        self._embedding, self._horizon = embedding, horizon
        self._mean, self._std = network.observation_mean.double().numpy(), network.observation_std.double().numpy()
        low, high = network.action_low.double().numpy(), network.action_high.double().numpy()
        self._middle, self._half = (low + high) / 2, (high - low) / 2
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
        features = self._embedding.features(seen, (step.transition.actions - self._middle) / self._half)
        self._counts[active] += 1
        # Welford's update: exact means and squared deviations with no difference of large numbers.
        before = features - self._means[active]
        self._means[active] += before / self._counts[active]
        if self._squares is not None:
            self._squares[active] += before * (features - self._means[active])
        self._remember(step.number, active, observations)

    def _remember(self, step: int, active: np.ndarray, observations: np.ndarray) -> None:
        """Reservoir sampling: with m places, step t takes a random one with probability m / (t + 1)."""
        slots, places = self._visited.shape[:2]
        # For every slot, playing or not, so that an ended episode does not shift another's draws.
        draws = self._generator.integers(0, step + 1, size=slots)[active]
        if step == 0:
            self._visited[active] = observations[:, None, :]
        place = np.full(len(active), step) if step < places else draws
        kept = place < places
        self._visited[active[kept], place[kept]] = observations[kept]

    def outcomes(self) -> Outcomes:
        """Return the outcome of each episode, (S, D) float32."""
        parts = [self._means]
        if self._squares is not None:
            parts.append(np.sqrt(self._squares / np.maximum(self._counts, 1)))
        return np.concatenate([*parts, self._counts / self._horizon], axis=1).astype(np.float32)

    def visited(self) -> np.ndarray:
        """Return the visited states that were kept, raw, (S, m, O) float32; the first state fills empty places."""
        return self._visited


@dataclass(frozen=True)
class Whitening:
    """A linear map after which outcomes have mean 0 and, up to a small ridge, unit covariance.

    Symmetric (ZCA), so that a whitened coordinate still stands for an outcome coordinate.

    Attributes:
        mean: (D,).
        matrix: (D', D), zero columns for coordinates that were left out.
        kept: Numbers of the D' coordinates that vary.
    """

    mean: np.ndarray
    matrix: np.ndarray
    kept: np.ndarray

    def __call__(self, outcomes: Outcomes) -> Float[np.ndarray, "policies white"]:
        """Return whitened outcomes, (N, D')."""
        return (outcomes - self.mean) @ self.matrix.T


def whiten(outcomes: Outcomes, scales: Float[np.ndarray, " outcome"], what: str = "the outcomes") -> Whitening:
    """Fit the whitening of some outcomes, leaving out coordinates that hardly vary.

    Args:
        outcomes: (N, D).
        scales: About how much each coordinate varies from step to step, (D,).
        what: Whose outcomes they are, for the error.

    Raises:
        UserError: No coordinate varies, or there are fewer than two outcomes.
    """
    values = outcomes.astype(np.float64)
    mean, std = values.mean(0), values.std(0) if len(values) else np.zeros(values.shape[1])
    kept = np.flatnonzero(std > _STILL * scales)
    if len(values) < 2 or not len(kept):
        raise UserError(
            f"{what} of {len(values)} random policies are all the same or nearly so, so there is no direction to grow in: do episodes "
            "end at once? Look at the environment, or raise --prior.gain"
        )
    scaled = (values[:, kept] - mean[kept]) / std[kept]
    correlation = scaled.T @ scaled / len(scaled)
    variances, axes = np.linalg.eigh(correlation)
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
