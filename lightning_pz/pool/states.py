"""State samples: the observations on which behavior is compared, in parts that share no episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.checks import at_least, check_choices
from lightning_pz.common.errors import UserError
from lightning_pz.common.progress import ProgressBar
from lightning_pz.envs.episodes import VisitedStates, play_episodes
from lightning_pz.envs.forward import Act, BatchForward
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.specs import LARGEST_BOX, EnvSpec
from lightning_pz.policy import Layout, PolicyNetwork, Prior, draw_params

SPLITS = ("probe", "train", "val", "test")
Given = tuple[PolicyNetwork, Float[Tensor, "policies params"]]
"""Policies with the part that they share."""
_MIN_STD = 1e-6
"""Below this a coordinate counts as constant and is only centered, in the environment's units."""


@dataclass(frozen=True)
class StateCounts:
    """How many states each part of the sample holds, and where they come from.

    Args:
        probe: States of the fingerprint, which novelty and the behavior encoder see. At least 128 for
            trustworthy neighbor distances.
        train: States on which the behavior loss is computed, a random batch of them at each step.
        val: Held-out states on which training is stopped and the best checkpoint chosen.
        test: Held-out states that decide nothing.
        episodes: Rollouts that give states to each part, where states come from rollouts.
        source: `rollouts` takes states that random actions and random policies visit; `uniform` draws them from the
            observation box, which must be finite. Most environments fill only a small part of their box.
    """

    probe: int = 128
    train: int = 1536
    val: int = 256
    test: int = 256
    episodes: int = 64
    source: Literal["rollouts", "uniform"] = "rollouts"

    def __post_init__(self) -> None:
        at_least(2, {f"states.{name}": getattr(self, name) for name in (*SPLITS, "episodes")})
        check_choices(self, "states.")

    def check_source(self, spec: EnvSpec) -> None:
        """Raise `UserError` if states are to be drawn from an observation box that is not finite."""
        if self.source == "uniform" and not spec.has_finite_observations:
            ends = zip(spec.observation_low, spec.observation_high, strict=True)
            number, (low, high) = next((i, end) for i, end in enumerate(ends) if not max(map(abs, end)) < LARGEST_BOX)
            raise UserError(
                f"--states.source uniform draws states from the observation box, which must lie within +-{LARGEST_BOX:.0e}, "
                f"but coordinate {number} of {spec.id} ranges from {low:g} to {high:g}: leave it out, or give rollouts"
            )

    def identity(self) -> dict[str, object]:
        """Return all that decides the sample, as plain data."""
        # The default source is left out, so that growths from before this setting can be resumed.
        return {name: value for name, value in vars(self).items() if (name, value) != ("source", "rollouts")}

    @property
    def total(self) -> int:
        """All states together."""
        return self.probe + self.train + self.val + self.test

    def slices(self) -> dict[str, slice]:
        """Return the place of each part in the sample, in the order of `SPLITS`."""
        ends = np.cumsum([getattr(self, name) for name in SPLITS]).tolist()
        return {name: slice(end - getattr(self, name), end) for name, end in zip(SPLITS, ends, strict=True)}


@dataclass(frozen=True)
class StateSample:
    """Raw observations, (S, O), parts in the order of `SPLITS`, and the statistics by which policies standardize them, (O,).

    Mean and standard deviation (1 where a coordinate is constant) are those of the uniform box, or of the probe and train
    states; `source` is `uniform` or `rollouts`.
    """

    states: Float[Tensor, "states observation"]
    mean: Float[Tensor, " observation"]
    std: Float[Tensor, " observation"]
    source: str
    steps: int = 0  # environment steps that it took


def behavior_bytes(layout: Layout, counts: StateCounts) -> int:
    """Return how many bytes the fingerprint and the actions of one policy take in a pool."""
    return layout.feature_size * (4 * counts.probe + 2 * (counts.total - counts.probe))


def sample_states(
    spec: EnvSpec,
    counts: StateCounts,
    layout: Layout,
    prior: Prior,
    seed: int,
    *,
    given: Given | None = None,
    progress: bool | None = None,
) -> StateSample:
    """Draw the state sample of an environment.

    By default states that a real Gymnasium environment visits, half under random actions and half under random policies of
    the prior, which are drawn from a stream of their own; no episode gives states to two parts, so that a held-out state
    never neighbors a training state in time. Uniform over the observation box if `counts.source` says so. Some of the
    `given` policies, (N, P), are played in the place of random ones, by their own network.

    Raises:
        UserError: Episodes too short to fill a part, an observation that is not finite, or a box that uniform cannot fill.
    """
    counts.check_source(spec)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(0, 1))))
    if counts.source == "uniform":
        low, high = np.array(spec.observation_low), np.array(spec.observation_high)
        states = generator.uniform(low, high, size=(counts.total, spec.observation_size))
        mean, std = (low + high) / 2, _spread((high - low) / np.sqrt(12))
        return StateSample(_float(states), _float(mean), _float(std), "uniform")
    every = counts.episodes * len(SPLITS)
    with ProgressBar(total=every, desc="states", unit="episode", progress=progress) as bar:
        states, steps = _visited(spec, counts, layout, prior, seed, given, generator, bar)
    seen = states[: counts.probe + counts.train]
    return StateSample(_float(states), _float(seen.mean(0)), _float(_spread(seen.std(0))), "rollouts", steps)


def _visited(
    spec: EnvSpec,
    counts: StateCounts,
    layout: Layout,
    prior: Prior,
    seed: int,
    given: Given | None,
    generator: np.random.Generator,
    bar: ProgressBar,
) -> tuple[np.ndarray, int]:
    """Return states of random actions and of random or given policies, (S, O), each part from episodes of its own, and the steps."""
    episodes = counts.episodes
    drawn = (episodes - episodes // 2) * len(SPLITS)
    simulator = make_simulator(spec, drawn)
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    lost: list[str] = []
    steps = 0

    def play(names: Sequence[str], acting: Callable[[list[int]], Act]) -> None:
        """Play one episode for each name of a part, by what acts in episodes of these seeds."""
        nonlocal steps
        seeds = [int(generator.integers(2**31)) for _ in names]
        visited = VisitedStates((spec.observation_size,), np.float64)
        ends = play_episodes(acting(seeds), simulator, seeds, spec.horizon, [visited], bar.update)
        steps += ends.steps
        each = np.split(visited.by_episode(), ends.lengths.cumsum()[:-1])
        for name, seed, states, whole in zip(names, seeds, each, ends.valid, strict=True):
            if whole:
                pieces[name].append(states)
            else:  # an invalid episode counts for nothing, here as in `rollout`
                lost.append(f"the one with seed {seed} after {len(states)} steps")

    def check() -> None:
        whole = sum(map(len, pieces.values()))
        if len(lost) > whole:
            raise UserError(
                f"observations of {spec.id} are not finite, or beyond what a float32 holds, in {len(lost)} of "
                f"{len(lost) + whole} episodes, {lost[0]}: mend the environment"
            )

    # Random actions first: their states give the statistics by which random policies see the world.
    low, high = np.array(spec.action_low), np.array(spec.action_high)

    def random_action(*_: np.ndarray) -> np.ndarray:
        if spec.choices:
            return (low + generator.integers(spec.choices))[None].astype(np.int64)
        return generator.uniform(low, high)[None].astype(np.float32)

    for name in SPLITS:
        # Where episodes end early, more of them, so that a part is filled; bounded, for some end at once.
        for _ in range(100 * episodes):
            if len(pieces[name]) >= episodes // 2 and sum(map(len, pieces[name])) >= getattr(counts, name):
                break
            play([name], lambda _: random_action)
            if len(lost) > episodes:
                check()
    check()
    seen = np.concatenate(pieces["probe"] + pieces["train"])
    if given is not None:
        network, params = given[0], given[1][generator.integers(len(given[1]), size=drawn)]
    else:
        network = PolicyNetwork(layout, _float(seen.mean(0)), _float(_spread(seen.std(0))), _float(low), _float(high))
        # A seed of its own keeps these policies apart from the candidates.
        own_seed = int(np.random.SeedSequence(seed, spawn_key=(0, 2)).generate_state(1, np.uint64)[0])
        params = draw_params(prior, layout, own_seed, range(drawn))
    policies = [layout.to_sequential(one) for one in params]

    @torch.no_grad()
    def act(observations: np.ndarray, active: np.ndarray) -> np.ndarray:
        # One by one, each from memory of its own: how a row of a matrix is aligned decides the last bit of a product.
        seen = [policies[i](network.standardize(_float(observations[i]))) for i in active]
        return network.scale(torch.stack(seen)).numpy()

    def random_policies(seeds: list[int]) -> Act:
        is_of_earlier_pools = layout.head.kind == "tanh" and given is None  # whose last digits stay what they were
        return act if is_of_earlier_pools else BatchForward(network, params, seeds=seeds)

    play([SPLITS[i % len(SPLITS)] for i in range(drawn)], random_policies)
    check()
    parts: list[np.ndarray] = []
    taken: set[bytes] = set()
    for name in SPLITS:
        pool, wanted = np.concatenate(pieces[name]), getattr(counts, name)
        # Where every episode begins in the same state, one part alone may hold it, if the others have enough without it.
        fresh = pool[[state.tobytes() not in taken for state in pool]]
        pool = fresh if len(fresh) >= wanted else pool
        if len(pool) < wanted:
            raise UserError(
                f"{spec.id} ended its episodes after {len(pool) // episodes} steps on average, so that {episodes} "
                f"of them give {len(pool)} states, but --states.{name} asks for {wanted}: lower it"
            )
        parts.append(pool[generator.choice(len(pool), size=wanted, replace=False)])
        taken.update(state.tobytes() for state in parts[-1])
    return np.concatenate(parts), steps


def _spread(std: np.ndarray) -> np.ndarray:
    """Return standard deviations to divide by: 1 where a coordinate is constant."""
    return np.where(std < _MIN_STD, 1.0, std)


def _float(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)
