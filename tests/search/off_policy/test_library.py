"""An update computes what the library's own does, for equal weights, batches and noise."""

from functools import partial

import gymnasium
import pytest
import torch
from sb3_contrib import TQC
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.buffers import ReplayBufferSamples

from lightning_pz.policy import Layout, PolicyNetwork, Prior, draw_params
from lightning_pz.search.algorithm_settings import OffPolicySettings
from lightning_pz.search.objective import Problem
from lightning_pz.search.off_policy.actor import ActorStart
from lightning_pz.search.off_policy.mixed_replay import Batch
from lightning_pz.search.off_policy.off_policy_learner import OffPolicyLearner, Recipe

RATE, SIZE, UPDATES = 3e-3, 32, 8
LAYOUT = Layout(3, (8, 6), 1, "relu")  # the library has one activation for actor and critics
LIBRARY = {"td3": TD3, "sac": SAC, "tqc": TQC}


def ours(algorithm, problem):
    settings = OffPolicySettings(
        normalize=False, hidden=[16, 12], critic_rate=RATE, actor_rate=RATE, latent_rate=RATE, batch=SIZE, tie=0.0, log_std=-1.0,
        temperature=0.2,
    ).for_replay(0.0)  # fmt: skip
    start = ActorStart(draw_params(Prior(), LAYOUT, 0, [0])[0])
    return OffPolicyLearner(Recipe(algorithm, settings, None, True, 0.0), start, None, problem, 0, 100).model


def libraries(algorithm, mine):
    """Return the library's model with our weights."""
    kind = LIBRARY[algorithm]
    more = {} if algorithm == "td3" else {"ent_coef": "auto_0.2"}
    shape = {"activation_fn": torch.nn.ReLU, "net_arch": {"pi": [8, 6], "qf": [16, 12]}}
    env = gymnasium.make("Pendulum-v1")
    model = kind(
        "MlpPolicy", env, learning_rate=RATE, batch_size=SIZE, policy_kwargs=shape, device="cpu", seed=0, **more
    )
    model.set_logger(mine.logger)
    actors = [model.actor] + ([model.actor_target] if algorithm == "td3" else [])
    with torch.no_grad():
        for actor in actors:
            for module, (weight, bias) in zip(linears(actor, algorithm), unpacked(mine), strict=True):
                module.weight.copy_(weight)
                module.bias.copy_(bias)
            if algorithm != "td3":
                # One deviation for all states: the head has a bias alone.
                actor.log_std.weight.zero_().requires_grad_(False)
                actor.log_std.bias.fill_(-1.0)
        for critic in (model.critic, model.critic_target):
            for own, flat in zip(critic.q_networks, mine.policy.critic.flat, strict=True):
                torch.nn.utils.vector_to_parameters(as_library(mine.policy.critic, flat), own.parameters())
    return model


def linears(actor, algorithm):
    parts = [actor.mu] if algorithm == "td3" else [actor.latent_pi, actor.mu]
    return [module for part in parts for module in part.modules() if isinstance(module, torch.nn.Linear)]


def unpacked(mine):
    return [(weight[0], bias[0]) for weight, bias in LAYOUT.unpack(mine.policy.actor.params().detach()[None])]


def as_library(critics, flat):
    """Return a critic's weights in the library's order, where a weight is (out, in)."""
    parts = flat.split(critics.splits)
    pairs = zip(parts[::2], parts[1::2], critics.shapes, strict=True)
    return torch.cat([part for weight, bias, shape in pairs for part in (weight.unflatten(0, shape).T.flatten(), bias)])


def batches():
    generator = torch.Generator().manual_seed(3)
    draw = partial(torch.randn, generator=generator)
    for _ in range(UPDATES):
        ends = (torch.rand(SIZE, 1, generator=generator) < 0.2).float()
        yield draw(SIZE, 3), draw(SIZE, 1).tanh(), draw(SIZE, 3), ends, draw(SIZE, 1)


@pytest.mark.parametrize("algorithm", LIBRARY)
def test_updates_are_the_librarys(algorithm, pendulum, monkeypatch):
    mine = ours(algorithm, pendulum)
    library = libraries(algorithm, mine)
    for states, actions, following, ends, rewards in batches():
        own = Batch(states, actions, following, rewards[:, 0], 1 - ends[:, 0])
        monkeypatch.setattr(mine.replay_buffer, "batch", lambda size, own=own: own)
        theirs = ReplayBufferSamples(states, actions, following, ends, rewards)
        monkeypatch.setattr(library.replay_buffer, "sample", lambda *_, theirs=theirs, **more: theirs)
        for model in (mine, library):
            torch.manual_seed(0)
            model.train(gradient_steps=1, batch_size=SIZE)
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
    for module, (weight, bias) in zip(linears(library.actor, algorithm), unpacked(mine), strict=True):
        close(weight, module.weight.detach())
        close(bias, module.bias.detach())
    for target, critic in (
        (mine.policy.critic.flat, library.critic),
        (mine.policy.critic_target.flat, library.critic_target),
    ):
        for flat, network in zip(target, critic.q_networks, strict=True):
            expected = torch.nn.utils.parameters_to_vector(network.parameters())
            close(as_library(mine.policy.critic, flat.detach()), expected.detach())
    if algorithm != "td3":
        close(mine.policy.actor.log_std.detach(), library.actor.log_std.bias.detach())
        close(mine.log_ent_coef.detach(), library.log_ent_coef.detach())
    assert not torch.equal(unpacked(mine)[0][0], unpacked(ours(algorithm, pendulum))[0][0])  # they moved


@pytest.fixture(scope="module")
def pendulum():
    from lightning_pz.envs.specs import env_spec
    from lightning_pz.envs.tasks import find_task

    spec = env_spec("Pendulum-v1")
    network = PolicyNetwork(LAYOUT, torch.zeros(3), torch.ones(3), -2 * torch.ones(1), 2 * torch.ones(1))
    return Problem(network, spec, "standard", find_task(spec.id, "standard"))
