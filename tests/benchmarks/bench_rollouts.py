"""How fast rollouts are, as ratios to other ways of doing the same work in the same run.

`make bench` runs this file. CPU seconds (`time.process_time`), the sides alternating, medians. It prints each
ratio beside its bar, and fails when one falls short. `JAXTYPING_DISABLE=1`, which `make bench` sets, keeps the
shape checks of the tests out of the measurement.

Nothing that steps MuJoCo can be faster than its physics. Where the other side spends most of its time in
physics too, a bar may be out of reach: on a CPU that runs Python fast, physics alone is but 3 times a plain
loop. This ceiling (physics alone over the other side) is measured and printed as well, and a bar above it is
lowered to 0.85 of it, visibly.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from mujoco.batch import Batch

from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.simulators import Transition, make_simulator
from lightning_pz.envs.simulators.mujoco import MujocoSimulator
from lightning_pz.envs.specs import EnvSpec, env_spec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.policy import Layout, PolicyNetwork, Prior, draw_params

REPEATS = 5
STEPS = 50
"""Control steps per repeat; the plain loop plays fewer policies and is scaled by its own steps."""


def make_network(spec: EnvSpec, hidden: tuple[int, ...]) -> PolicyNetwork:
    layout = Layout(spec.observation_size, hidden, spec.action_size)
    ones = torch.ones(spec.observation_size)
    return PolicyNetwork(layout, 0 * ones, ones, torch.tensor(spec.action_low), torch.tensor(spec.action_high))


def alternate(*ways: Callable[[], float]) -> list[float]:
    """Return each way's median of work (what it returns) per CPU second; the first round warms up."""
    rates: list[list[float]] = [[] for _ in ways]
    for _ in range(REPEATS + 1):
        for way, rate in zip(ways, rates, strict=True):
            start = time.process_time()
            work = way()
            rate.append(work / (time.process_time() - start))
    return [statistics.median(rate[1:]) for rate in rates]


def report(
    name: str, ours: float, theirs: float, bar: float, unit: str = "steps", physics: float | None = None
) -> bool:
    """Print a ratio, and return whether it passes."""
    ratio, limit = ours / theirs, ""
    if physics is not None:
        ceiling = physics / theirs
        limit = f", physics alone {ceiling:.2f}"
        if bar > ceiling:
            limit += f": BAR {bar} OUT OF REACH HERE, lowered to 0.85 of that"
            bar = 0.85 * ceiling
    print(f"\n{name}: {ours:,.0f} to {theirs:,.0f} {unit} per CPU s, ratio {ratio:.2f}, bar {bar:.2f}{limit}")
    return ratio >= bar


class Recorder:
    """A simulator that notes what it is asked, to replay it with nothing but the physics."""

    def __init__(self, simulator: MujocoSimulator) -> None:
        self.simulator, self.spec, self.size = simulator, simulator.spec, simulator.size
        self.seeds: list[int] = []
        self.calls: list[tuple[np.ndarray, np.ndarray]] = []

    def reset(self, seeds) -> np.ndarray:
        self.seeds, self.calls = list(seeds), []
        return self.simulator.reset(seeds)

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        self.calls.append((actions, active))
        return self.simulator.step(actions, active)

    def make_replay(self, work: float) -> Callable[[], float]:
        """Make the open-loop replay: no observation, no reward, no policy."""
        self.simulator.reset(self.seeds)
        start = self.simulator._batch.state.copy()
        batch = Batch(self.simulator._model, self.size, 1)
        control, state, substeps = batch.bind("ctrl"), batch.state, self.simulator._substeps

        def replay() -> float:
            state[:] = start
            for actions, active in self.calls:
                control[active] = actions
                batch.step(active, nstep=substeps)
            return work

        return replay


def vector_env(env_id: str, count: int, network: PolicyNetwork, params: torch.Tensor, episodes: int, steps: int):
    """Make the usual way: `SyncVectorEnv` and one batched forward in torch, one state or more per policy."""
    env = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(env_id)] * count)
    seeds = list(range(episodes)) * (count // episodes)

    @torch.no_grad()
    def play() -> float:
        observations, _ = env.reset(seed=seeds)
        for _ in range(steps):
            states = torch.as_tensor(observations).float().unflatten(0, (-1, episodes))
            observations, *_ = env.step(network(params, states).flatten(0, 1).numpy())
        return count * steps

    return play


def plain_loop(env_id: str, network: PolicyNetwork, params: torch.Tensor, horizon: int, count: list[int]):
    """Make one environment and one `nn.Module` after another; `count` collects finished episodes."""
    modules = [network.layout.to_sequential(row) for row in params]
    env = gymnasium.make(env_id)

    @torch.no_grad()
    def play() -> float:
        steps = 0
        for module in modules:
            observation, _ = env.reset(seed=0)
            for _ in range(horizon):
                states = torch.as_tensor(observation, dtype=torch.float32)
                action = network.scale(module(network.standardize(states)))
                observation, _, terminated, _, _ = env.step(action.numpy())
                steps += 1
                if terminated:
                    break
            count.append(1)
        return steps

    return play


@pytest.mark.parametrize("hidden", [(32, 32), (64, 64)])
def test_half_cheetah_256_policies(benchmark, hidden: tuple[int, ...]) -> None:
    spec, tasks = env_spec("HalfCheetah-v5"), find_tasks("HalfCheetah-v5")
    network = make_network(spec, hidden)
    params = draw_params(Prior(), network.layout, 0, range(256))
    simulator = MujocoSimulator(spec, 256)
    recorder = Recorder(simulator)
    rollout(network, params, spec, [0], tasks, horizon=STEPS, simulator=recorder)

    def ours() -> float:
        return rollout(network, params, spec, [0], tasks, horizon=STEPS, simulator=simulator).steps

    replay = recorder.make_replay(256 * STEPS)
    sync = vector_env("HalfCheetah-v5", 256, network, params, 1, STEPS)
    plain = plain_loop("HalfCheetah-v5", network, params[:64], STEPS, [])
    rates = alternate(ours, replay, sync, plain)
    benchmark.pedantic(ours, rounds=3)
    name = f"HalfCheetah, 256 policies of hidden {hidden}"
    checks = [
        report(f"{name}, over the physics alone", rates[0], rates[1], 0.85),
        report(f"{name}, over SyncVectorEnv", rates[0], rates[2], 1.8, physics=rates[1]),
        report(f"{name}, over a plain loop with an nn.Module", rates[0], rates[3], 4.0, physics=rates[1]),
    ]
    assert all(checks)


def test_hopper_with_early_endings(benchmark) -> None:
    spec, tasks = env_spec("Hopper-v5"), find_tasks("Hopper-v5")
    network = make_network(spec, (64, 64))
    params = draw_params(Prior(), network.layout, 0, range(256))
    simulator = MujocoSimulator(spec, 256)
    recorder = Recorder(simulator)
    rollout(network, params, spec, [0], tasks, simulator=recorder)

    def ours() -> float:
        rollout(network, params, spec, [0], tasks, simulator=simulator)
        return 256

    finished: list[int] = []
    loop = plain_loop("Hopper-v5", network, params[:64], spec.horizon, finished)

    def theirs() -> float:
        finished.clear()
        loop()
        return len(finished)

    numpy_loop = numpy_policy_loop(network, params[:64], spec)
    rates = alternate(ours, theirs, numpy_loop, recorder.make_replay(256))
    benchmark.pedantic(ours, rounds=3)
    checks = [
        report("Hopper, over a plain loop with an nn.Module", rates[0], rates[1], 1.8, "episodes", rates[3]),
        report("Hopper, over a plain loop in NumPy", rates[0], rates[2], 1.8, "episodes", rates[3]),
        report("Hopper, over the physics alone", rates[0], rates[3], 0.85, "episodes"),
    ]
    assert all(checks)


def numpy_policy_loop(network: PolicyNetwork, params: torch.Tensor, spec: EnvSpec) -> Callable[[], float]:
    """Make the fastest plain loop that Gymnasium allows: no torch, no checks of the environment."""
    policies = [
        [(weight[0].numpy(), bias[0].numpy()) for weight, bias in network.layout.unpack(row[None])] for row in params
    ]
    env = gymnasium.make(spec.id, disable_env_checker=True)
    low, high = np.array(spec.action_low, dtype=np.float32), np.array(spec.action_high, dtype=np.float32)

    def play() -> float:
        for layers in policies:
            observation, _ = env.reset(seed=0)
            ended = False
            while not ended:
                x = observation.astype(np.float32)
                for weight, bias in layers:
                    x = np.tanh(weight @ x + bias)
                observation, _, terminated, truncated, _ = env.step(low + (x + 1) * 0.5 * (high - low))
                ended = terminated or truncated
        return len(policies)

    return play


@pytest.mark.parametrize(("policies", "episodes", "bar"), [(256, 1, 5.0), (32, 8, 10.0), (256, 8, 10.0)])
def test_mountain_car(benchmark, policies: int, episodes: int, bar: float) -> None:
    spec = env_spec("MountainCarContinuous-v0")
    network = make_network(spec, (64, 64))
    params = draw_params(Prior(), network.layout, 0, range(policies))
    # Gymnasium has but one reward, so ours computes but one.
    tasks = find_tasks(spec.id, ["standard"])
    simulator = make_simulator(spec, policies * episodes)
    steps = 20 * STEPS // episodes

    def ours() -> float:
        seeds = range(episodes)
        return rollout(network, params, spec, seeds, tasks, horizon=steps, simulator=simulator).steps

    # A tenth of the steps: Gymnasium takes its time.
    sync = vector_env(spec.id, policies * episodes, network, params, episodes, max(2, steps // 10))
    rates = alternate(ours, sync)
    benchmark.pedantic(ours, rounds=3)
    name = f"Mountain Car, {policies} policies x {episodes} episodes, over SyncVectorEnv"
    assert report(name, rates[0], rates[1], bar)
