"""What share of a PGPE generation is physics: 64 latents, decoded to policies, one HalfCheetah episode each.

`make bench` runs this file. CPU seconds (`time.process_time`), generation and replay alternating, medians. The
replay steps the same trajectories with the recorded actions: no policy, no decoder, no reward, no update.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
import torch
from mujoco.batch import Batch

from lightning_pz.autoencoder.decoders import Decoder
from lightning_pz.common.latent_distribution import LatentDistribution
from lightning_pz.envs.simulators import Transition
from lightning_pz.envs.simulators.mujoco import MujocoSimulator
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_task
from lightning_pz.policy import Layout, PolicyNetwork, Prior, prior_scale
from lightning_pz.search.algorithm_settings import PgpeSettings
from lightning_pz.search.objective import Objective, Problem
from lightning_pz.search.optimizers.pgpe import Pgpe
from lightning_pz.search.population import PopulationSearch
from lightning_pz.search.spaces import latent_space, parameter_space

REPEATS, MEMBERS, LATENT, BAR = 5, 64, 16, 0.7


class Recorder:
    """A simulator that notes seeds and actions."""

    def __init__(self, simulator: MujocoSimulator) -> None:
        self.simulator, self.spec, self.size = simulator, simulator.spec, simulator.size
        self.calls: list[tuple[np.ndarray, np.ndarray]] = []

    def reset(self, seeds) -> np.ndarray:
        self.seeds, self.calls = list(seeds), []
        return self.simulator.reset(seeds)

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        self.calls.append((actions.copy(), active.copy()))
        return self.simulator.step(actions, active)


@pytest.mark.parametrize("hidden", [(32, 32), (64, 64)])
def test_physics_share_of_a_generation(benchmark, hidden: tuple[int, ...]) -> None:
    measure(benchmark, hidden)


def measure(benchmark, hidden: tuple[int, ...]) -> None:
    spec = env_spec("HalfCheetah-v5")
    layout, ones = Layout(spec.observation_size, hidden, spec.action_size), torch.ones(spec.observation_size)
    network = PolicyNetwork(layout, 0 * ones, ones, torch.tensor(spec.action_low), torch.tensor(spec.action_high))
    decoder = Decoder(LATENT, prior_scale(Prior(), layout), [256, 256]).eval().requires_grad_(False)
    space = latent_space(decoder, LatentDistribution(torch.zeros(LATENT), torch.eye(LATENT)))
    objective = Objective(Problem(network, spec, "forward", find_task(spec.id, "forward")))
    simulator = MujocoSimulator(spec, MEMBERS)
    recorder = Recorder(simulator)
    objective._simulator = recorder
    optimizer = Pgpe(PgpeSettings(population=MEMBERS))
    weights = parameter_space(Prior(), layout)
    search = PopulationSearch(
        optimizer=optimizer, space=space, objective=objective, weights=weights, seed=0, episodes=1, starts=0, start_episodes=1
    )  # fmt: skip
    state = search.begin()
    search.step(state)
    simulator.reset(recorder.seeds)
    start = simulator._batch.state.copy()
    batch = Batch(simulator._model, MEMBERS, 1)
    control, states = batch.bind("ctrl"), batch.state

    def replay() -> None:
        states[:] = start
        for actions, active in recorder.calls:
            control[active] = actions
            batch.step(active, nstep=simulator._substeps)

    objective._simulator = simulator

    def generation() -> None:
        search.step(state)

    seconds: dict[str, list[float]] = {"generation": [], "physics": []}
    for _ in range(REPEATS + 1):
        for name, way in (("generation", generation), ("physics", replay)):
            begin = time.process_time()
            way()
            seconds[name].append(time.process_time() - begin)
    whole, physics = (statistics.median(values[1:]) for values in seconds.values())
    steps = MEMBERS * spec.horizon
    print(
        f"\nHalfCheetah, {MEMBERS} latents, policies of hidden {hidden}: a generation takes {whole:.2f} CPU s "
        f"({steps / whole:,.0f} steps per CPU s), physics alone {physics:.2f}: share {physics / whole:.2f}, bar {BAR}"
    )
    benchmark.pedantic(generation, rounds=1)
    assert physics / whole >= BAR
