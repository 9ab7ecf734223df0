"""Training by Stable-Baselines3 while a policy is made small: right gradients, right targets, right files."""

import copy

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.envs import FakeImageEnv
from torch import nn
from torch.nn.utils import parametrize

from lightning_pz.common.errors import UserError
from lightning_pz.compression.compressor import Compressor
from lightning_pz.compression.environments import find_world
from lightning_pz.compression.measures import outputs, sparsity
from lightning_pz.compression.methods.schedule import Ramp
from lightning_pz.compression.methods.shadow import Shadow
from lightning_pz.compression.methods.stack import Mask, layers_of
from lightning_pz.compression.modules import copy_of
from lightning_pz.compression.part_settings import DistillSettings, L0Settings, LowRankSettings
from lightning_pz.compression.residual_cnn import ResidualCNN
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.compression.training import sb3_run as training
from lightning_pz.compression.training.sb3_models import load_model, open_to_act
from lightning_pz.compression.training.sb3_networks import network_of, optimizer_of
from lightning_pz.compression.training.sb3_run import train_sb3

ARCH = {"net_arch": [24, 24]}
MODEL = {
    "sac": {"learning_starts": 40, "batch_size": 16, "policy_kwargs": ARCH},
    "td3": {"learning_starts": 40, "batch_size": 16, "policy_kwargs": ARCH},
    "dqn": {"learning_starts": 40, "batch_size": 16, "target_update_interval": 30, "policy_kwargs": ARCH},
    "ppo": {"n_envs": 2, "n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": ARCH},
}


def quick(algorithm, method, steps=120, **more):
    model = copy.deepcopy(MODEL)
    return CompressSettings(algorithm=algorithm, method=method, steps=steps, model=model, sparsity=0.8, **more)


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 2))


@pytest.mark.parametrize("method", ["prune", "prune+int8", "l0+int4", "l0+low_rank+int8", "low_rank"])
def test_stored_weights_beside_the_module_train_as_parametrized_ones(method):
    """The same network, data and optimizer, once by torch's own mechanism and once by shadows."""
    steps = 40
    rules = {"l0": L0Settings(penalty=0.5, learning_rate=0.05), "low_rank": LowRankSettings(rank=1)}
    settings = CompressSettings(method=method, steps=steps, sparsity=0.7, ramp=Ramp(0.1, 0.6, 10), **rules)
    inputs, wanted = torch.randn(steps * 2, 8, 4), torch.randn(steps * 2, 8, 2)
    results = []
    for way in ("parametrize", "shadow"):
        network = small_network()
        compressor = Compressor(network, settings, 0.01)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=1e-3)
        if way == "parametrize":
            for name, module in compressor.layers.items():
                parametrize.register_parametrization(module, "weight", compressor.stacks[name])
                compressor.weights[name] = module.parametrizations.weight.original
        else:
            shadow = Shadow(compressor, optimizer)
        for step in range(settings.total_steps()):
            if compressor.advance(step) and way == "shadow":
                shadow.write()
            loss = (network(inputs[step]) - wanted[step]).square().mean()
            optimizer.zero_grad()
            if way == "parametrize":
                if compressor.extra is not None:
                    compressor.extra.zero_grad()
                penalty = compressor.penalty()
                (loss if penalty is None else loss + penalty).backward()
                for weight in compressor.weights.values():
                    # What a factorized layer stored gets no gradient here and a zero one there.
                    weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                optimizer.step()
                if compressor.extra is not None:
                    compressor.extra.step()
                compressor.draw()
            else:
                loss.backward()
                optimizer.step()
        results.append(compressor.finished()[0])
    one, two = (torch.cat([p.flatten() for p in result.parameters()]) for result in results)
    assert torch.allclose(one, two, atol=1e-6)
    start = torch.cat([p.flatten() for p in small_network().parameters()])
    assert not torch.allclose(one, start, atol=1e-2)


def test_parametrizing_a_module_would_spoil_targets_by_position():
    """The trap that shadows avoid, so that it is known to be one."""
    network, target = nn.Linear(3, 3), nn.Linear(3, 3)
    parametrize.register_parametrization(network, "weight", Mask((3, 3)))
    assert [p.shape for p in network.parameters()] != [p.shape for p in target.parameters()]


@pytest.mark.parametrize("algorithm, env", [("dqn", "CartPole-v1"), ("td3", "Pendulum-v1"), ("sac", "Pendulum-v1")])
def test_targets_follow_by_name(algorithm, env, tmp_path, monkeypatch):
    """After each update every target parameter is tau times the online one of its name plus the rest of itself."""
    import stable_baselines3.dqn.dqn as dqn
    import stable_baselines3.sac.sac as sac
    import stable_baselines3.td3.td3 as td3

    module, seen = {"dqn": dqn, "sac": sac, "td3": td3}[algorithm], []
    original = module.polyak_update
    owner = {}

    def checked(params, targets, tau):
        params, targets = list(params), list(targets)
        if not params:
            return
        pairs = [pair for pair in owner["pairs"] if next(iter(pair[1].parameters())) is targets[0]]
        online, target = ({n: p.detach().clone() for n, p in net.named_parameters()} for net in pairs[0])
        original(params, targets, tau)
        after = dict(pairs[0][1].named_parameters())
        assert online.keys() == after.keys()
        for name, value in after.items():
            assert torch.allclose(value, tau * online[name] + (1 - tau) * target[name], atol=1e-7), name
        # And the online network is the compressed one.
        seen.append(sparsity(owner["network"]))

    make = training.make_model

    def remember(*arguments):
        model = make(*arguments)
        policy = model.policy
        owner["network"] = network_of(model)
        owner["pairs"] = (
            [(policy.q_net, policy.q_net_target)] if algorithm == "dqn"
            else [(policy.critic, policy.critic_target)]
            + ([(policy.actor, policy.actor_target)] if algorithm == "td3" else [])
        )  # fmt: skip
        return model

    monkeypatch.setattr(module, "polyak_update", checked)
    monkeypatch.setattr(training, "make_model", remember)
    done = train_sb3(find_world(env), quick(algorithm, "prune+int8", 150), tmp_path)
    assert len(seen) >= 3 and seen[-1] >= 0.79
    if algorithm == "dqn":
        # The target that was copied last is compressed itself.
        target = nn.Sequential(*done.model.policy.q_net_target.q_net)
        assert sparsity(target) >= 0.7


@pytest.mark.parametrize(
    "algorithm, env, method",
    [
        ("sac", "Pendulum-v1", "prune+int8"),
        ("td3", "Pendulum-v1", "l0"),
        ("ppo", "CartPole-v1", "l0+low_rank"),
        ("dqn", "CartPole-v1", "prune"),
        ("ppo", "Pendulum-v1", "low_rank+int8"),
        ("ppo", "Pendulum-v1", "int4"),
        ("dqn", "CartPole-v1", "none"),
    ],
)
def test_every_algorithm_and_method_ends_in_a_model_that_the_stock_loader_opens(algorithm, env, method, tmp_path):
    world = find_world(env)
    settings = quick(algorithm, method, 192, low_rank=LowRankSettings(rank=1))
    done = train_sb3(world, settings, tmp_path)
    done.model.save(tmp_path / "model.zip")
    assert type(open_to_act(tmp_path / "model.zip")).__name__.lower() == algorithm
    model = {"sac": SAC, "td3": TD3, "ppo": PPO, "dqn": DQN}[algorithm].load(tmp_path / "model.zip", device="cpu")
    states = np.random.default_rng(0).normal(size=(20, *world.shape)).astype(np.float32)
    actions, _ = model.predict(states, deterministic=True)
    got = outputs(done.final, torch.from_numpy(states))
    wanted = got.argmax(1).numpy() if world.discrete else got.numpy()
    # An int8 level may fall on the other side where the factors are multiplied in another order.
    assert np.allclose(actions, wanted, atol=1e-4)
    if "prune" in method:
        count = sum(layer.weight.numel() for layer in layers_of(done.whole).values())
        assert abs(sparsity(done.whole) - 0.8) <= max(1e-3, 1 / count)
    if "low_rank" in method:
        assert any(stack.factors is not None for stack in done.compressor.stacks.values())
    if "l0" in method:
        assert done.compressor.gates_closed is not None
    assert done.env_steps >= settings.total_steps()


@pytest.mark.slow
def test_scalars_are_logged_and_follow_the_ramp(tmp_path):
    settings, rows = quick("sac", "prune", 300, ramp=Ramp(0.2, 0.8, 12)), []
    world = find_world("Pendulum-v1")
    train_sb3(world, settings, tmp_path, begin_log=lambda steps: lambda values, step: rows.append(values))
    values = [row["compress/sparsity"] for row in rows if "compress/sparsity" in row]
    assert (
        len(values) > 20 and sorted(values) == values and values[0] == 0 and values[-1] == pytest.approx(0.8, abs=1e-3)
    )
    aimed = [row["compress/sparsity_target"] for row in rows if "compress/sparsity_target" in row]
    assert values == pytest.approx(aimed, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm, env, method", [("sac", "Pendulum-v1", "prune+int8"), ("ppo", "CartPole-v1", "l0+low_rank"), ("dqn", "CartPole-v1", "l0+int8")])  # fmt: skip
def test_a_resumed_training_equals_a_straight_one(algorithm, env, method, tmp_path):
    # Ranks by behavior error depend on what was seen before the cut.
    more = {"low_rank": LowRankSettings(error=0.3)} if "low_rank" in method else {}
    world, settings = find_world(env), quick(algorithm, method, 192, checkpoint_every=128, **more)
    straight = train_sb3(world, settings, tmp_path / "straight")
    assert train_sb3(world, settings, tmp_path / "cut", stop_after=1) is None
    path = tmp_path / "cut" / "resume" / "state.pt"
    state = torch.load(path, weights_only=True)
    assert state["cpu_seconds"] > 0
    torch.save(state | {"cpu_seconds": 1000.0}, path)
    again = train_sb3(world, settings, tmp_path / "cut")
    assert again.earlier_seconds == 1000 and straight.earlier_seconds == 0
    assert again.env_steps == straight.env_steps
    one, two = (dict(done.model.policy.named_parameters()) for done in (straight, again))
    for name in one:
        assert torch.equal(one[name], two[name]), name
    (tmp_path / "cut" / "resume" / "state.pt").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"state.pt cannot be read .*delete .*resume to begin again"):
        train_sb3(world, settings, tmp_path / "cut")
    other = train_sb3(world, quick(algorithm, method, 192, checkpoint_every=128, seed=1, **more), tmp_path / "other")
    assert any(not torch.equal(one[n], p) for n, p in other.model.policy.named_parameters())


@pytest.mark.parametrize(("given", "device"), [({}, "cpu"), ({"device": "auto"}, "auto")])
def test_a_resumed_training_stays_on_its_device(given, device, tmp_path, monkeypatch):
    model = {"ppo": copy.deepcopy(MODEL["ppo"]) | given}
    settings = CompressSettings(algorithm="ppo", method="prune", steps=128, checkpoint_every=64, model=model)
    world, loaded, load = find_world("CartPole-v1"), [], PPO.load
    assert train_sb3(world, settings, tmp_path, stop_after=1) is None
    monkeypatch.setattr(PPO, "load", lambda *path, **more: loaded.append(more["device"]) or load(*path, **more))
    assert train_sb3(world, settings, tmp_path).env_steps >= 128 and loaded == [device]


@pytest.mark.parametrize(
    "kwargs", [{}, {"features_extractor_class": ResidualCNN, "features_extractor_kwargs": {"channels": (4, 4)}}]
)
def test_networks_of_images_are_read_right(kwargs):
    env = FakeImageEnv(screen_height=40, screen_width=40, n_channels=1, discrete=True)
    model = DQN("CnnPolicy", env, policy_kwargs=kwargs, buffer_size=10, device="cpu")
    network = network_of(model)
    images = torch.randint(0, 256, (5, 1, 40, 40), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(network(images.float()), model.policy.q_net(images), atol=1e-6)
    assert torch.equal(outputs(copy_of(network), images.float()), outputs(network, images.float()))
    # The layers are the model's own.
    next(iter(layers_of(network).values())).weight.data.zero_()
    first = next(module for module in model.policy.q_net.modules() if isinstance(module, nn.Conv2d))
    assert not first.weight.any()


def test_bad_input(tmp_path):
    pendulum, cartpole = find_world("Pendulum-v1"), find_world("CartPole-v1")
    with pytest.raises(UserError, match="CartPole-v1 has discrete actions: use dqn or ppo"):
        train_sb3(cartpole, quick("sac", "prune"), tmp_path)
    with pytest.raises(UserError, match="use sac, td3 or ppo"):
        train_sb3(pendulum, quick("dqn", "prune"), tmp_path)
    with pytest.raises(UserError, match=r"sac refuses: .*learning_ratte"):
        train_sb3(pendulum, CompressSettings(algorithm="sac", model={"sac": {"learning_ratte": 1}}), tmp_path)
    for name, sentence in (("LeakyReLU", "LeakyReLU inside a policy cannot be written"), ("Nope", "expects a class")):
        odd = {"sac": MODEL["sac"] | {"policy_kwargs": ARCH | {"activation_fn": f"torch.nn.{name}"}}}
        # Before the first step, not after the last.
        with pytest.raises(UserError, match=sentence):
            train_sb3(pendulum, CompressSettings(algorithm="sac", steps=10**9, model=odd), tmp_path)
    with pytest.raises(UserError, match="expects at most 3, the rank of layer"):
        train_sb3(pendulum, quick("sac", "low_rank", low_rank=LowRankSettings(rank=5)), tmp_path)
    (tmp_path / "no.zip").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match=r"no model of Stable-Baselines3"):
        open_to_act(tmp_path / "no.zip")
    model = SAC("MlpPolicy", gymnasium.make("Pendulum-v1"), policy_kwargs=ARCH, buffer_size=10, device="cpu")
    model.save(tmp_path / "sac.zip")
    with pytest.raises(UserError, match="cannot be opened as td3"):
        load_model(tmp_path / "sac.zip", "td3")
    network_of(model)[1].weight.data[0, 0] = torch.inf
    with pytest.raises(UserError, match="expected finite weights"):
        Compressor(network_of(model), quick("sac", "prune", distill=DistillSettings()), 1e-3)
    assert optimizer_of(model) is model.policy.actor.optimizer
