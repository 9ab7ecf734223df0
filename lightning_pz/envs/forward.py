"""The policy forward inside a rollout: many policies, a few states each, NumPy.

`PolicyNetwork` is the reference. With one state per policy the work is reading weights, and `np.matmul`,
which calls BLAS once per policy, reads them faster than torch's batched product; it also makes each policy's
actions independent of the other policies of the batch, to the last bit.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from threadpoolctl import ThreadpoolController
from torch import Tensor

from lightning_pz.envs.action_noise import ActionNoise
from lightning_pz.policy import PolicyNetwork
from lightning_pz.policy.saved import SavedPolicy

Act = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From raw observations of all slots, (S, ...), and the slots that still play, (n,), to their actions, (n, A): float32, or
int64 where they are chosen."""
_COMPACT_BELOW = 0.75
"""Move weights together when this share of the loaded policies, or less, is still needed."""
_controller = functools.cache(ThreadpoolController)


def one_blas_thread() -> contextlib.AbstractContextManager:
    """Keep NumPy's matrix products on one thread within a `with` block.

    Those of a rollout are small, one per policy: shared between threads, each costs up to seven times the CPU time.
    """
    return _controller().limit(limits=1, user_api="blas")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.tanh(0.5 * x) + 0.5  # without an exponential that overflows


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": lambda x: np.tanh(x, out=x),
    "relu": lambda x: np.maximum(x, 0, out=x),
    "silu": lambda x: x * _sigmoid(x),
    "linear": lambda x: x,
}


class BatchForward:
    """Actions of N policies whose episodes end one after another: an `Act`; slot p * E + e holds episode e of policy p.

    Policies that draw their actions need the seed of each slot's episode: with one seed two policies get the same noise.
    They must be called once for each step, from the first on.
    """

    def __init__(
        self,
        network: PolicyNetwork,
        params: Float[Tensor, "policies params"],
        episodes: int = 1,
        seeds: Sequence[int] | None = None,
    ) -> None:
        layout, self._episodes, self._head = network.layout, episodes, network.layout.head
        self._noise: ActionNoise | None = None
        if self._head.sample:
            if seeds is None or len(seeds) != len(params) * episodes:
                raise ValueError("policies that draw their actions need the seed of each slot's episode")
            self._noise = ActionNoise(seeds, layout.action_size, uniform=bool(self._head.choices))
        self._active: np.ndarray | None = None
        self._activation = _ACTIVATIONS[layout.activation]
        # (N, in, out) in memory, so that a product with one row reads each weight once, in order.
        self._layers = [
            (np.ascontiguousarray(weight.mT.numpy()), np.ascontiguousarray(bias[:, None, :].numpy()))
            for weight, bias in layout.unpack(params.detach().to("cpu").float().contiguous())
        ]
        shared = (network.observation_mean, network.observation_std, network.action_low)
        self._mean, self._std, self._low = (numbers.cpu().numpy() for numbers in shared)
        self._range = (network.action_high - network.action_low).cpu().numpy()
        self._loaded = np.arange(len(params))

    def __call__(self, observations: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Return the actions of the active slots, (n, A), for raw observations of all slots, (N * E, O)."""
        if active is not self._active:  # the loop gives the same array until an episode ends
            self._active, self._acting, self._rows = active, active, np.arange(len(active))
            if self._episodes > 1:
                self._acting, which = np.unique(active // self._episodes, return_inverse=True)
                self._rows = which * self._episodes + active % self._episodes
        outputs = self._outputs(observations.reshape(-1, self._episodes, observations.shape[1]), self._acting)
        outputs = outputs.reshape(-1, outputs.shape[-1])
        outputs = outputs if len(outputs) == len(self._rows) else outputs[self._rows]
        noise = None if self._noise is None else self._noise.next()[active]
        if self._head.choices:
            return self._choose(outputs, noise)
        # Copied together, since NumPy computes a slice of columns by another way, in the last bit, where it has one row.
        size = len(self._low)
        x = np.ascontiguousarray(outputs[:, :size])
        x = np.tanh(x, out=x)
        if noise is not None:
            x += _sigmoid(np.ascontiguousarray(outputs[:, size:])) * np.float32(2 * self._head.initial_std) * noise
        return self._low + (x + 1) * np.float32(0.5) * self._range

    def _choose(self, logits: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
        """Return the numbers of the chosen actions, (n, A) int64: the most likely, or drawn by uniform noise, (n, A).

        Where logits are not finite it is one below the smallest, which no environment has.
        """
        chosen = np.empty((len(logits), len(self._head.choices)), dtype=np.int64)
        ends = np.cumsum(self._head.choices)
        for number, (end, count) in enumerate(zip(ends, self._head.choices, strict=True)):
            part = np.ascontiguousarray(logits[:, end - count : end])
            if noise is None:
                chosen[:, number] = part.argmax(1)
            else:
                weights = np.exp((part - part.max(1, keepdims=True)) * np.float32(1 / self._head.temperature))
                below = weights.cumsum(1) <= noise[:, number, None] * weights.sum(1, keepdims=True)
                chosen[:, number] = np.minimum(below.sum(1), count - 1)
        chosen[~np.isfinite(logits).all(1)] = -1
        return chosen + self._low.astype(np.int64)

    def _outputs(self, observations: np.ndarray, needed: np.ndarray) -> np.ndarray:
        """Return the last layers, (n, E, F), of the policies that still have a live episode, for raw observations of all.

        `needed`, (n,) increasing, never grows from one call to the next. A policy that overflows gives non-finite numbers
        and, unless `numpy.errstate` forbids, warnings.
        """
        if len(needed) <= _COMPACT_BELOW * len(self._loaded):
            keep = np.searchsorted(self._loaded, needed)
            self._layers = [(weight[keep], bias[keep]) for weight, bias in self._layers]
            self._loaded = needed
        x = (observations if len(self._loaded) == len(observations) else observations[self._loaded]).astype(np.float32)
        x -= self._mean
        x /= self._std
        for number, (weight, bias) in enumerate(self._layers, 1):
            x = np.matmul(x, weight)
            x += bias
            x = self._activation(x) if number < len(self._layers) else x
        return x if len(needed) == len(self._loaded) else x[np.searchsorted(self._loaded, needed)]


def saved_act(policy: SavedPolicy, seeds: Sequence[int]) -> Act:
    """Return the actions of one saved policy in episodes of these seeds: drawn ones, if that is its way."""
    if policy.is_plain:
        return BatchForward(policy.network(), policy.params[None], len(seeds), seeds)
    return lambda observations, active: policy.act(torch.from_numpy(observations[active].astype(np.float32))).numpy()


def noisy(forward: BatchForward, noise: np.ndarray, generator: np.random.Generator) -> Act:
    """Return policies' actions plus Gaussian noise of a standard deviation for each action coordinate, (A,)."""

    def act(observations: np.ndarray, active: np.ndarray) -> np.ndarray:
        # For every slot, whether it still plays or not, so that an ended episode does not shift another's noise.
        draws = generator.standard_normal((len(observations), len(noise)), dtype=np.float32)
        return forward(observations, active) + np.float32(noise) * draws[active]

    return act
