"""Compressing a policy by its own behavior."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lightning_pz import compress
from lightning_pz.common.errors import UserError
from lightning_pz.compression.environments import find_world, play_world
from lightning_pz.compression.formats.network_file import read_network, write_network
from lightning_pz.compression.make_environment import make_world_env
from lightning_pz.compression.measures import compare_behavior, output_fvu, outputs, sparsity
from lightning_pz.compression.methods.quantize import ActivationInt8
from lightning_pz.compression.methods.schedule import Ramp
from lightning_pz.compression.methods.stack import layers_of
from lightning_pz.compression.modules import Standardize, ToBox, copy_of
from lightning_pz.compression.part_settings import DistillSettings, L0Settings, LowRankSettings
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.compression.training.distill import distill, targets
from lightning_pz.envs.specs import make_env
from tests.compression.conftest import zeros

OPTIONS = DistillSettings(steps=220, batch_size=64, episodes=2, held_out=1, rounds=1)
SETTINGS = CompressSettings(
    policy="some.npz", method="prune+int8", sparsity=0.7, ramp=Ramp(0.2, 0.8, 20), distill=OPTIONS
)


@pytest.fixture(scope="module")
def pendulum():
    return find_world("Pendulum-v1")


def policy(squash="tanh", outputs=1, inputs=3):
    torch.manual_seed(0)
    body = [nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, outputs)]
    box = [ToBox(torch.tensor([-2.0]), torch.tensor([2.0]), squash)] if squash else []
    return nn.Sequential(Standardize(torch.zeros(inputs), torch.full((inputs,), 2.0)), *body, *box)


def log(values, step):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prune+int8", "prune+int4", "l0", "low_rank+int8", "l0+low_rank", "none"])
def test_a_policy_keeps_its_behavior(method, pendulum, tmp_path):
    original, logged = policy(), {}
    before = outputs(original, torch.eye(3))
    settings = CompressSettings(
        policy="some.npz", method=method, sparsity=0.7, distill=OPTIONS, ramp=Ramp(0.2, 0.8, 20),
        l0=L0Settings(penalty=0.3, learning_rate=0.1), low_rank=LowRankSettings(error=0.05),
    )  # fmt: skip
    done = distill(original, pendulum, settings, lambda values, step: logged.update(values))
    assert torch.equal(outputs(original, torch.eye(3)), before)
    states = play_world(original, pendulum, [77], keep=True).observations
    found = compare_behavior(done.final, original, states, discrete=False)["fvu"]
    assert found < 0.15 and logged["behavior_fvu"] < 0.25
    # All zeros, the share of the weights that are left, would miss far more.
    assert found == pytest.approx(output_fvu(outputs(done.whole, states), outputs(original, states)), abs=1e-3)
    if "prune" in method:
        count = sum(layer.weight.numel() for layer in layers_of(done.whole).values())
        assert done.compressor.scalars()["sparsity"] == pytest.approx(0.7, abs=1 / count)
        assert sparsity(done.whole) == pytest.approx(0.7, abs=1 / count if settings.bits == 8 else 0.1)
    if method == "l0":
        assert sparsity(done.whole) == pytest.approx(done.compressor.gates_closed) and sparsity(done.whole) > 0.1
    if settings.bits is not None:
        write_network(
            done.final,
            tmp_path / "x.lpz",
            f"sparse_int{settings.bits}",
            per_channel=settings.per_channel(settings.bits),
        )
        again, _ = read_network(tmp_path / "x.lpz")
        assert torch.allclose(outputs(again, states), outputs(done.final, states), atol=1e-6)
        assert zeros(again) == zeros(done.final)
    if method == "none":
        assert torch.allclose(outputs(done.final, states), outputs(original, states), atol=1e-2)


def test_the_same_seed_gives_the_same_network(pendulum):
    def once(seed):
        settings = CompressSettings(
            **(vars(SETTINGS) | {"seed": seed, "distill": DistillSettings(60, 32, 1e-3, 1, 1, 1)})
        )
        return torch.cat([p.flatten() for p in distill(policy(), pendulum, settings, log).whole.parameters()])

    one, two, other = once(3), once(3), once(4)
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_activations_are_rounded_too(pendulum):
    settings = CompressSettings(**(vars(SETTINGS) | {"activations": True}))
    original = policy()
    done = distill(original, pendulum, settings, log)
    rounded = [module for module in done.final.modules() if isinstance(module, ActivationInt8)]
    assert len(rounded) == 2 and all(module.on and float(module.largest) > 0 for module in rounded)
    states = play_world(original, pendulum, [77], keep=True).observations
    assert compare_behavior(done.final, original, states, discrete=False)["fvu"] < 0.2


def test_clipped_and_discrete_policies_are_compared_where_gradients_are(pendulum):
    clipped = policy("clip")
    with torch.no_grad():
        clipped[-2].bias.fill_(50)
    assert float(targets(clipped, torch.zeros(1, 3), pendulum)) > 40 and float(clipped(torch.zeros(1, 3)).detach()) == 2
    cartpole = find_world("CartPole-v1")
    scores = targets(policy(None, 2, 4), torch.randn(9, 4), cartpole)
    assert torch.allclose(scores.sum(1), torch.zeros(9), atol=1e-6)
    done = distill(policy(None, 2, 4), cartpole, SETTINGS, log)
    found = compare_behavior(done.final, policy(None, 2, 4), torch.randn(200, 4), discrete=True)
    assert found["agreement"] > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("method", ["prune+int8", "prune+int4", "l0+low_rank", "low_rank+int8"])
def test_every_device_learns_the_behavior(method, device, pendulum):
    settings = CompressSettings(
        policy="some.npz", method=method, sparsity=0.7, distill=replace(OPTIONS, device=device), ramp=Ramp(0.2, 0.8, 20),
        low_rank=LowRankSettings(error=0.05), activations="int" in method,
    )  # fmt: skip
    done = distill(original := policy(), pendulum, settings, log)
    assert {tensor.device.type for tensor in done.compressor.network.parameters()} == {device}
    states = play_world(original, pendulum, [77], keep=True).observations
    assert compare_behavior(done.final, original, states, discrete=False)["fvu"] < 0.15


def test_a_device_that_is_not_there_is_told(pendulum):
    settings = replace(SETTINGS, distill=replace(OPTIONS, device="cuda:99"))
    with pytest.raises(
        UserError, match=r"--distill.device expects a device that this machine has, but cuda:99 cannot .{,300}$"
    ):
        distill(policy(), pendulum, settings, log)


@pytest.mark.parametrize(
    "device, told",
    [
        ("cuda:99", "expects a device that this machine has"),
        ("gpu", "expects cpu, cuda, or .* got 'gpu'"),
        ("cpu:1", "expects cpu, cuda, or .* got 'cpu:1'"),
    ],
)
def test_a_device_that_is_not_there_leaves_no_folder(device, told, write_policy, tmp_path):
    words = ["--env", "Pendulum-v1", "--policy", str(write_policy(3, 1, high=2.0)), "--distill.device", device]
    with pytest.raises(UserError, match=f"--distill.device {told}"):
        compress.main([*words, "--logs", str(tmp_path / "logs")])
    assert not list((tmp_path / "logs").rglob("*.yaml"))


@pytest.mark.parametrize("name", ["Pendulum-v1", "CartPole-v1", "MountainCarContinuous-v0", "InvertedPendulum-v5"])
def test_played_returns_are_gymnasiums(name):
    world = find_world(name)
    network = policy(None if world.discrete else "tanh", 2 if world.discrete else 1, world.shape[0])
    played = play_world(network, world, [3, 4], keep=True)
    assert len(played.observations) == played.lengths.sum()
    for seed, value, length in zip((3, 4), played.returns, played.lengths, strict=True):
        env = make_env(name)
        observation, total, steps, ended = env.reset(seed=seed)[0], 0.0, 0, False
        while not ended:
            wanted = network(torch.from_numpy(observation.astype(np.float32))[None])[0].detach().numpy()
            observation, reward, terminated, truncated, _ = env.step(int(wanted.argmax()) if world.discrete else wanted)
            total, steps, ended = total + float(reward), steps + 1, terminated or truncated
        assert (steps, total) == (length, pytest.approx(value, rel=1e-4))


def test_images_get_the_usual_treatment():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    env = make_world_env("PongNoFrameskip-v4", reward_clip=True)
    observation, _ = env.reset(seed=0)
    assert observation.shape == (4, 84, 84) and observation.dtype == np.uint8
    first = env.step(0)[0]
    assert np.array_equal(first[:3], observation[1:])
    assert find_world("PongNoFrameskip-v4").actions == 6


def test_fvu_is_the_share_of_variance():
    generator = torch.Generator().manual_seed(0)
    wanted, noise = (torch.randn(5000, 3, generator=generator) for _ in range(2))
    assert output_fvu(wanted, wanted) == 0
    assert output_fvu(wanted.mean(0).expand_as(wanted), wanted) == pytest.approx(1)
    assert output_fvu(wanted + 0.1 * noise, wanted) == pytest.approx(0.01, rel=0.1)
    # What all actions of a state have in common does not decide which is taken.
    assert output_fvu(wanted + noise[:, :1], wanted, scores=True) == pytest.approx(0, abs=1e-9)


def test_a_copy_shares_nothing():
    one = policy()
    two = copy_of(one)
    next(iter(layers_of(two).values())).weight.data.zero_()
    assert next(iter(layers_of(one).values())).weight.any()


def test_activations_are_calibrated_also_where_no_step_of_int8_is_left(pendulum):
    settings = CompressSettings(**(vars(SETTINGS) | {"activations": True, "int8_share": 1e-6}))
    done = distill(policy(), pendulum, settings, log)
    rounded = [module for module in done.final.modules() if isinstance(module, ActivationInt8)]
    assert rounded and all(module.on and float(module.largest) > 0 for module in rounded)
