"""Updates per CPU second of our TD3 against Stable-Baselines3's own, with its default widths and with ours.

`make bench` runs this file. HalfCheetah's sizes, batches of 256, one thread, CPU seconds (`time.process_time`); bursts of
updates of both alternate, medians. Ours learns a latent of 16 numbers and an offset of all weights behind a decoder, with
layer-normalized critics; the library's has neither.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
import torch
from stable_baselines3 import TD3
from stable_baselines3.common.logger import Logger

from lightning_pz.autoencoder.decoders import Decoder
from lightning_pz.common.latent_distribution import LatentDistribution
from lightning_pz.envs.specs import env_spec, make_env
from lightning_pz.envs.tasks import find_task
from lightning_pz.policy import Layout, PolicyNetwork, Prior, prior_scale
from lightning_pz.search.algorithm_settings import OffPolicySettings
from lightning_pz.search.objective import Problem
from lightning_pz.search.off_policy.actor import ActorStart
from lightning_pz.search.off_policy.off_policy_learner import OffPolicyLearner, Recipe
from lightning_pz.search.spaces import latent_space

REPEATS, UPDATES, LATENT, BAR = 9, 40, 16, 1.5
WIDTHS = {
    "its default widths": {"pi": [400, 300], "qf": [400, 300]},
    "equal widths": {"pi": [32, 32], "qf": [256, 256]},
}


@pytest.fixture
def ours():
    spec = env_spec("HalfCheetah-v5")
    layout, ones = Layout(spec.observation_size, (32, 32), spec.action_size), torch.ones(spec.observation_size)
    network = PolicyNetwork(layout, 0 * ones, ones, torch.tensor(spec.action_low), torch.tensor(spec.action_high))
    decoder = Decoder(LATENT, prior_scale(Prior(), layout), [256, 256]).eval().requires_grad_(False)
    space = latent_space(decoder, LatentDistribution(torch.zeros(LATENT), torch.eye(LATENT)))
    recipe = Recipe("td3", OffPolicySettings().for_replay(0.0), space.decode, True, 0.0)
    start = ActorStart(torch.zeros(layout.num_params), torch.zeros(LATENT))
    problem = Problem(network, spec, "forward", find_task(spec.id, "forward"))
    return OffPolicyLearner(recipe, start, None, problem, 0, 20_000).model


@pytest.mark.parametrize("widths", WIDTHS)
def test_updates_per_cpu_second(benchmark, ours, widths: str) -> None:
    shape = {"net_arch": WIDTHS[widths]}
    theirs = TD3("MlpPolicy", make_env("HalfCheetah-v5"), buffer_size=20_000, policy_kwargs=shape, device="cpu", seed=0)
    theirs.set_logger(Logger(folder=None, output_formats=[]))
    generator = np.random.default_rng(0)
    for model in (ours, theirs):
        buffer = model.replay_buffer
        for name in ("observations", "next_observations", "actions", "rewards"):
            array = getattr(buffer, name)
            array[:] = generator.uniform(-1, 1, array.shape)
        buffer.pos = buffer.buffer_size - 1
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(REPEATS + 1):
        for name, model in (("ours", ours), ("theirs", theirs)):
            begin = time.process_time()
            model.train(UPDATES, 256)
            seconds[name].append(time.process_time() - begin)
    mine, other = (statistics.median(values[1:]) for values in seconds.values())
    print(
        f"\nTD3, {widths}: ours {UPDATES / mine:,.0f} updates per CPU second, Stable-Baselines3 {UPDATES / other:,.0f}: "
        f"{other / mine:.2f} times, bar {BAR}"
    )
    benchmark.pedantic(lambda: ours.train(1, 256), rounds=1)
    # With equal widths both spend their time in the same matrix products, and ours normalizes and decodes beside them.
    assert other / mine >= BAR or widths == "equal widths"
