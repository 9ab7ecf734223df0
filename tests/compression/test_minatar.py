"""MinAtar's games, against the games themselves, and a network for their small images."""

import importlib.metadata

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN

from lightning_pz import compress
from lightning_pz.common.errors import UserError
from lightning_pz.compression import make_environment
from lightning_pz.compression.environments import find_world, play_world
from lightning_pz.compression.formats.network_file import read_network
from lightning_pz.compression.make_environment import make_world_env
from lightning_pz.compression.measures import outputs
from lightning_pz.compression.methods.stack import layers_of
from lightning_pz.compression.run_identity import compression_identity
from lightning_pz.compression.settings import CompressSettings
from lightning_pz.compression.training.sb3_networks import network_of

GAMES = {"Asterix": (4, 5), "Breakout": (4, 3), "Freeway": (7, 3), "Seaquest": (10, 6), "SpaceInvaders": (6, 4)}
"""Channels and actions that do something, as the paper's table has them."""
STEPS = 300


@pytest.mark.parametrize("game", GAMES)
def test_a_game_is_the_game_itself_in_bytes(game):
    channels, actions = GAMES[game]
    world = find_world(f"MinAtar/{game}-v1")
    assert world.shape == (channels, 10, 10) and world.actions == actions and world.discrete and world.is_image
    ours, itself = make_world_env(world.id, reward_clip=True), gymnasium.make(world.id).unwrapped
    generator, seed = np.random.default_rng(0), 7
    seen, _ = ours.reset(seed=seed)
    itself.reset(seed=seed)
    for _ in range(STEPS):
        state = itself.game.state()
        assert seen.dtype == np.uint8 and np.array_equal(seen, 255 * np.moveaxis(state, 2, 0))
        action = int(generator.integers(actions))
        seen, reward, over, cut, _ = ours.step(action)
        _, expected, done, *_ = itself.step(action)
        assert (reward, over, cut) == (expected, done, False)
        if over:
            seed += 1
            seen, _ = ours.reset(seed=seed)
            itself = gymnasium.make(world.id).unwrapped  # which remembers no action of an earlier episode
            itself.reset(seed=seed)


def episode(env, seed: int, first: int) -> list[bytes]:
    """Return what is seen in an episode that takes one action all the time."""
    seen, over, images = env.reset(seed=seed)[0], False, []
    while not over and len(images) < 50:
        images.append(seen.tobytes())
        seen, _, over, *_ = env.step(first)
    return images


def test_an_episode_knows_nothing_of_the_one_before():
    """Of these seeds one repeats the last action at its first step."""
    fresh = [episode(make_world_env("MinAtar/Breakout-v1", reward_clip=False), seed, 1) for seed in range(40)]
    env = make_world_env("MinAtar/Breakout-v1", reward_clip=False)
    for seed in range(40):
        episode(env, 1000 + seed, 2)
        assert episode(env, seed, 1) == fresh[seed]


def settings(**more) -> dict:
    learner = {
        "learning_starts": 40, "batch_size": 4, "target_update_interval": 20, "buffer_size": 200,
        "policy_kwargs": {"net_arch": [], "features_extractor_class": "lightning_pz.compression.small_cnn.SmallCNN"},
    }  # fmt: skip
    return {"algorithm": "dqn", "method": "none", "steps": 240, "episodes": 2, "model": {"dqn": learner}} | more


def test_a_small_network_learns_and_is_the_one_in_the_file(tmp_path):
    words = [
        "--env",
        "minatar-breakout",
        "--steps",
        "120",
        "--episodes",
        "2",
        "--env.horizon",
        "50",
        "--method",
        "none",
    ]
    compress.main([*words, "--logs", str(tmp_path), "--progress", "false"])
    folder = tmp_path / "compress" / "minatar-breakout" / "dqn-none-seed0"
    network, _ = read_network(folder / "policy.lpz")
    shapes = [tuple(layer.weight.shape) for layer in layers_of(network).values()]
    assert shapes == [(16, 4, 3, 3), (128, 1024), (3, 128)]
    model = DQN.load(folder / "model.zip", device="cpu")
    images = torch.from_numpy(255 * np.random.default_rng(0).integers(0, 2, (5, 4, 10, 10), dtype=np.uint8))
    with torch.no_grad():
        expected = model.policy.q_net(images)
    assert torch.allclose(outputs(network, images.float()), expected, atol=1e-5)


def test_resumed_equals_straight(tmp_path):
    from lightning_pz.compression.training.sb3_run import train_sb3

    world, own = find_world("MinAtar/Breakout-v1"), CompressSettings(**settings(checkpoint_every=80))
    straight = train_sb3(world, own, tmp_path / "straight")
    for stop in (1, 2):
        assert train_sb3(world, own, tmp_path / "resumed", stop_after=stop) is None
    again = train_sb3(world, own, tmp_path / "resumed")
    for name, value in network_of(straight.model).state_dict().items():
        assert torch.equal(value, network_of(again.model).state_dict()[name]), name
    assert play_world(network_of(straight.model), world, range(3)).returns.shape == (3,)


def test_the_games_own_version_decides_a_result_and_that_of_an_unused_package_does_not():
    content = compression_identity(find_world("MinAtar/Breakout-v1"), CompressSettings(**settings())).content
    names = {name.lower() for name in content["versions"]}
    assert "minatar" in names and "opencv-python-headless" not in names
    assert importlib.metadata.version("minatar") in content["versions"].values()


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(make_environment, "is_installed", lambda name: name != "minatar")
    for name in [name for name in gymnasium.registry if name.startswith("MinAtar/")]:
        monkeypatch.delitem(gymnasium.registry, name)
    with pytest.raises(
        UserError, match=r"--env MinAtar/Breakout-v1 needs MinAtar.*pip install 'lightning_pz\[minatar\]'"
    ):
        find_world("MinAtar/Breakout-v1")
    monkeypatch.undo()
    assert find_world("MinAtar/Breakout-v1").actions == 3
