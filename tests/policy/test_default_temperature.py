"""Random policies that choose are neither all uniform nor all deterministic, by the default temperature."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_pz.envs.policy_layout import policy_layout
from lightning_pz.envs.presets import PolicyConfig
from lightning_pz.envs.specs import env_spec
from lightning_pz.policy import Prior, act_shared, draw_params


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"])
@pytest.mark.parametrize("hidden", [[2], [32, 32]], ids=["small", "medium"])
def test_random_policies_have_a_quarter_to_a_half_of_the_entropy_of_uniform_ones(
    env_id: str, hidden: list[int]
) -> None:
    spec = env_spec(env_id)
    layout = policy_layout(spec, PolicyConfig(hidden=hidden))
    states = torch.randn(64, spec.observation_size, generator=torch.Generator().manual_seed(0))  # standardized
    features = act_shared(layout, draw_params(Prior(), layout, 0, range(300)), states)
    share = layout.head.entropy(features) / math.log(spec.choices[0])
    assert 0.25 < float(share.mean()) < 0.55
    assert float((share < 0.05).float().mean()) < 0.5 and float((share > 0.95).float().mean()) < 0.2
